"""A model as a function of batches, for Ray Data, Spark, Dask, multiprocessing and pipelines of one's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from toolkit.core.errors import UsageError
from toolkit.core.parallel import in_threads
from toolkit.core.text import printable
from toolkit.data.remote.urls import is_remote, shown
from toolkit.data.walk import Sample, sample
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.labeller import IN_MEMORY, Labeller, Prediction
from toolkit.inference.options import InferOptions
from toolkit.inference.predict import batches, layout, make_labeller, open_model
from toolkit.inference.result_formats import kind_of, typed
from toolkit.inference.result_table import Layout
from toolkit.sessions.resolve import resolve_model

PATH: Final = "path"
BYTES: Final = "bytes"
NOTHING: Final = "there is no image: neither path nor bytes"
NO_NAME: Final = "this path is no name of a file: it holds half a character"
_SQL: Final = {str: "string", int: "bigint", float: "double"}


class BatchLabeller:
    """Labels batches that have a column `path` or `bytes`: one row for each image, in their order, never an exception.

    It can be pickled: each process opens the model when it labels its first batch. A batch is a dict of arrays or
    lists, a pandas DataFrame, or a pyarrow Table or RecordBatch; the answer is of the same kind. An iterator of batches
    gives an iterator of answers, as Spark's `mapInPandas` and `mapInArrow` want it.

    The columns are those of a result file: path, label, confidence, …, status, error. Where there are `bytes`, they are
    the image, and `path` only names it.

    Args:
        model: a bundle, a .onnx or a .tflite file; every worker must see it at this place.
        options: how to label: `top_k`, `probabilities`, `min_confidence`, `device` and the like. One thread a process
            unless `workers` says otherwise.
        keep: columns of the batch that come out before ours.

    Raises:
        ModelError: no such model.
        UsageError: an option that is for result files; options or `keep` of another type.
    """

    def __init__(
        self, model: str | os.PathLike[str] = "model", options: InferOptions | None = None, *, keep: Sequence[str] = ()
    ) -> None:
        if options is not None and not isinstance(options, InferOptions):
            raise UsageError(f"options: expected InferOptions, found {type(options).__name__}")
        if not isinstance(keep, (list, tuple)) or not all(isinstance(name, str) for name in keep):
            raise UsageError(f"keep: expected a list of columns' names, found {keep!r:.80}", hint='such as keep=["id"]')
        self._model = resolve_model(Path(model)).absolute()
        self._options = options or InferOptions()
        self._keep = tuple(keep)
        if self._options.detections is not None:
            raise UsageError("detections are for toolkit infer", hint="give the boxes as images of their own")
        self._forget()

    def _forget(self) -> None:
        self._opening = threading.Lock()
        self._opened: tuple[int, Layout, Labeller] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model, "_options": self._options, "_keep": self._keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @property
    def columns(self) -> dict[str, type]:
        """The columns that are added: name -> str, int or float. Opens the model."""
        return {name: kind_of(name) for name in self._open()[0].columns}

    @property
    def ddl(self) -> str:
        """The same as Spark's `schema`; columns of `keep` are not among them."""
        return ", ".join(f"`{name}` {_SQL[kind]}" for name, kind in self.columns.items())

    def __call__(self, batch: Any) -> Any:
        """The answers for a batch, or an iterator of them for an iterator of batches.

        Raises:
            UsageError: something else, neither a column `path` nor `bytes`, or not all columns of `keep`.
            ModelError, MachineError: the model cannot be run.
        """
        if isinstance(batch, Iterator):
            return map(self, batch)
        kind = _kind(batch)
        names = list(batch.schema.names if kind == "arrow" else batch)
        if not {PATH, BYTES} & set(names):
            raise UsageError(
                f"a batch with the columns {', '.join(map(str, names))}: expected {PATH} or {BYTES}",
                hint=f"rename the column with the images' places to {PATH}",
            )
        if kind == "arrow" and (twice := sorted({name for name in (PATH, BYTES) if names.count(name) > 1})):
            raise UsageError(f"a batch with two columns {twice[0]}: expected one", hint="rename one of them")
        missing = [name for name in self._keep if name not in names and name not in self._open()[0].columns]
        if missing:
            raise UsageError(
                f"a batch with the columns {', '.join(map(str, names))}: expected {', '.join(missing)}, too",
                hint="name existing columns in keep",
            )
        paths, data = (_column(batch, kind, name) if name in names else None for name in (PATH, BYTES))
        if paths is not None and data is not None and len(paths) != len(data):
            raise UsageError(f"a batch with {len(paths):,} in {PATH} and {len(data):,} in {BYTES}: expected as many")
        rows = self._rows(paths, data)
        table = self._open()[0]
        values = {name: [row[i] for row in rows] for i, name in enumerate(table.columns)}
        return _BUILD[kind](batch, [name for name in self._keep if name not in values], values)

    def _rows(self, paths: Sequence[Any] | None, data: Sequence[Any] | None) -> list[list[Any]]:
        table, label = self._open()
        n = len(paths if paths is not None else data or ())
        nothing = [None] * n
        pairs = zip(paths if paths is not None else nothing, data if data is not None else nothing, strict=True)
        images = [_image(path, one) for path, one in pairs]

        def predicted(some: list[Sample | bytes | Prediction]) -> list[Prediction]:
            answers = iter(label([one for one in some if not isinstance(one, Prediction)]))
            return [one if isinstance(one, Prediction) else next(answers) for one in some]

        with one_opencv_thread():
            work = batches(images, label.batch_size)
            found = [p for part in in_threads(predicted, work, self._options.workers or 1) for p in part]
        if data is not None:
            found = [_named(one, paths[i] if paths is not None else "") for i, one in enumerate(found)]
        return [typed(table, row) for row in table.rows(found)]

    def _open(self) -> tuple[Layout, Labeller]:
        """The model in this process; a fork of one that had it open opens its own."""
        with self._opening:
            if self._opened is None or self._opened[0] != os.getpid():
                session = open_model(self._model, self._options)
                table = layout(session, self._options)
                self._opened = os.getpid(), table, make_labeller(session, self._options)
            return self._opened[1:]


def _image(path: Any, data: Any) -> Sample | bytes | Prediction:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(path, (str, os.PathLike)) and not isinstance(data, str):
        name = os.fsdecode(path)
        try:
            return sample(name, name)
        except UnicodeEncodeError:
            return Prediction(IN_MEMORY._replace(name=_shown(name)), None, NO_NAME)
    return Prediction(IN_MEMORY, None, NOTHING)


def _named(one: Prediction, path: Any) -> Prediction:
    name = _shown(path) if isinstance(path, str) else ""
    return Prediction(one.sample._replace(name=name), one.probabilities, one.error, one.exif)


def _shown(name: str) -> str:
    """A name that UTF-8 can hold; surrogates that stand for no byte of a name as Python writes them."""
    if is_remote(name):
        return shown(name)
    try:
        return printable(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()


def _kind(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return "dict"
    package = type(batch).__module__.partition(".")[0]
    if package in ("pandas", "pyarrow") and hasattr(batch, "columns"):
        return "pandas" if package == "pandas" else "arrow"
    raise UsageError(f"expected a dict of columns, a DataFrame or a pyarrow Table, found {type(batch).__name__}")


def _column(batch: Any, kind: str, name: str) -> list[Any]:
    if kind == "arrow":
        return list(batch.column(name).to_pylist())
    return list(batch[name])


def _dict(batch: Any, keep: list[str], values: dict[str, list[Any]]) -> dict[str, Any]:
    """Text as objects; where there is no number NaN, -1 bytes, time 0."""
    found: dict[str, Any] = {name: batch[name] for name in keep}
    for name, column in values.items():
        if kind_of(name) is float:
            found[name] = np.array([np.nan if one is None else one for one in column], np.float64)
        elif kind_of(name) is int:
            missing = -1 if name == "size" else 0
            found[name] = np.array([missing if one is None else one for one in column], np.int64)
        else:
            found[name] = np.array([one or "" for one in column], object)
    return found


def _pandas(batch: Any, keep: list[str], values: dict[str, list[Any]]) -> Any:
    import pandas as pd

    types = {str: object, int: "Int64", float: "float64"}
    ours = {name: pd.Series(column, batch.index, dtype=types[kind_of(name)]) for name, column in values.items()}
    return pd.DataFrame({**{name: batch[name] for name in keep}, **ours}, index=batch.index)


def _arrow(batch: Any, keep: list[str], values: dict[str, list[Any]]) -> Any:
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    ours = {name: pa.array(column, types[kind_of(name)]) for name, column in values.items()}
    return type(batch).from_pydict({**{name: batch.column(name) for name in keep}, **ours})


_BUILD: Final = {"dict": _dict, "pandas": _pandas, "arrow": _arrow}
