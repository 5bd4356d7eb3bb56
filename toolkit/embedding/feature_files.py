"""Files of features: one row for each image, errors included, in the format that the suffix names.

.parquet  path, features (list of D float32, null where there is an error), status, error, size, mtime_ns, model
.csv      path, f0, f1, …, status, error, size, mtime_ns, model
.npy      float32 (N, D), a row of NaN where there is an error; `<name>.rows.csv` beside it has the other columns
"""

from __future__ import annotations

import base64
import csv
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.core.errors import InputError, UsageError, missing_extra
from toolkit.core.files import atomic_write, regular, write_csv
from toolkit.core.ownership import refuse_stdout
from toolkit.core.text import first_line, no_formula, printable, with_formula
from toolkit.inference.result_table import CSV_SAFE

Features = npt.NDArray[np.float32]

SUFFIXES: Final = (".parquet", ".npy", ".csv")
ROW_COLUMNS: Final = ("path", "status", "error", "size", "mtime_ns", "model")
BLOCK_ROWS: Final = 500

_DAMAGE: Final = (OSError, ValueError, TypeError, KeyError, EOFError, SyntaxError, TokenError, csv.Error)
"""What numpy, csv and pyarrow say of a damaged file; pyarrow's own errors are of these kinds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRow:
    """One image.

    Attributes:
        path: as given, joined with the file's place in it.
        features: float32 (D,); None where there is an error.
        error: why there are none; "" where there are.
        size, mtime_ns: of the bytes that were read; size -1 where none could be.
        model: short fingerprint of the model.
    """

    path: str
    features: Features | None
    error: str
    size: int
    mtime_ns: int
    model: str

    @property
    def status(self) -> str:
        """ "ok" or "error"."""
        return "ok" if self.features is not None else "error"

    @property
    def cells(self) -> list[str]:
        """All but the features, in the order of `ROW_COLUMNS`."""
        state = [str(self.size), str(self.mtime_ns)] if self.size >= 0 else ["", ""]
        return [self.path, self.status, self.error, *state, self.model]


def packed(features: Sequence[float]) -> str:
    """Features as text without loss, for the file in the making."""
    return base64.b64encode(np.array(features, "<f4").tobytes()).decode()


def unpacked(text: str) -> Features | None:
    """The inverse of `packed`; None for "".

    >>> unpacked(packed([0.5, -2]))
    array([ 0.5, -2. ], dtype=float32)
    """
    return np.frombuffer(base64.b64decode(text), "<f4") if text else None


def suffix_of(out: Path) -> str:
    """The suffix of `out`, which names its format.

    Raises:
        UsageError: none that can be written.
        MachineError: Parquet, and pyarrow is not installed.
    """
    refuse_stdout(out)
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{printable(str(out))}: expected a name that ends in {', '.join(SUFFIXES)}",
            hint=f"--out {printable(out.stem)}.npy",
        )
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise missing_extra("pyarrow", "parquet", "a .parquet file") from None
    return suffix


def rows_path(out: Path) -> Path:
    """The table beside a .npy file.

    >>> rows_path(Path("night/features.npy"))
    PosixPath('night/features.rows.csv')
    """
    return out.with_name(f"{out.stem}.rows.csv")


def is_feature_file(path: Path) -> bool:
    """Whether `path` is a file that `write_features` wrote, by its columns or the table beside it."""
    try:
        if path.suffix.lower() == ".npy":
            return is_rows_file(rows_path(path))
        if path.suffix.lower() == ".csv":
            with regular(path).open(newline="", encoding="utf-8-sig") as file:
                head = file.readline(1 << 20)
            return head.startswith("path,f0,f1,") and head.rstrip().endswith(",".join(ROW_COLUMNS[1:]))
        return path.suffix.lower() == ".parquet" and _parquet_columns(path) == [
            *("path", "features", "status", "error", "size", "mtime_ns", "model"),
        ]
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def is_rows_file(path: Path) -> bool:
    """Whether `path` is the table beside a .npy file of ours."""
    try:
        with regular(path).open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader([file.readline(1 << 10)]), []) == list(ROW_COLUMNS)
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def write_features(out: Path, width: int, n_rows: int, rows: Iterable[FeatureRow], *, csv_safe: bool = False) -> None:
    """Write rows to `out`, which appears whole or not at all; memory does not grow with their number.

    Args:
        out: .parquet, .npy or .csv.
        width: D.
        n_rows: how many rows there are.
        rows: the rows.
        csv_safe: an apostrophe before each name that a spreadsheet would compute; not for .parquet.
    """
    if suffix_of(out) == ".parquet":
        _write_parquet(out, iter(rows))
    elif suffix_of(out) == ".npy":
        _write_npy(out, width, n_rows, iter(rows), csv_safe=csv_safe)
    else:
        _write_csv(out, width, iter(rows), csv_safe=csv_safe)


def read_features(path: Path) -> Iterator[FeatureRow]:
    """The rows of a file that `write_features` wrote; memory does not grow with their number.

    Raises:
        InputError: it is none, or damaged.
    """
    again = f"toolkit embed photos/ --out {printable(path.name)}"
    suffix = suffix_of(path)
    if not is_feature_file(path):
        raise InputError(f"{printable(str(path))}: no file of features", hint=again)
    try:
        yield from {".parquet": _read_parquet, ".npy": _read_npy, ".csv": _read_csv}[suffix](path)
    except _DAMAGE as error:
        raise InputError(
            f"{printable(str(path))}: this file of features is damaged ({first_line(error)})", hint=again
        ) from None


def _row(
    path: str, features: Features | None, error: str, size: str | int | None, mtime_ns: str | int | None, model: str
) -> FeatureRow:
    if model.endswith(CSV_SAFE):
        path, error, model = with_formula(path), with_formula(error), model.removesuffix(CSV_SAFE)
    read = size is not None and size != ""
    state = (int(size or 0), int(mtime_ns or 0)) if read else (-1, 0)
    return FeatureRow(path=path, features=features, error=error, size=state[0], mtime_ns=state[1], model=model)


def _write_csv(out: Path, width: int, rows: Iterator[FeatureRow], *, csv_safe: bool) -> None:
    names = [f"f{i}" for i in range(width)]
    write_csv(out, ["path", *names, *ROW_COLUMNS[1:]], (_cells(row, width) for row in rows), csv_safe=csv_safe)


def _cells(row: FeatureRow, width: int) -> list[object]:
    numbers = [""] * width if row.features is None else [f"{value:.9g}" for value in row.features.tolist()]
    return [row.path, *numbers, *row.cells[1:]]


def _read_csv(path: Path) -> Iterator[FeatureRow]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        next(reader)
        for cells in reader:
            numbers, (status, error, size, mtime_ns, model) = cells[1:-5], cells[-5:]
            features = np.array(numbers, np.float32) if status == "ok" else None
            yield _row(cells[0], features, error, size, mtime_ns, model)


def _write_npy(out: Path, width: int, n_rows: int, rows: Iterator[FeatureRow], *, csv_safe: bool) -> None:
    shown = no_formula if csv_safe else str
    with (
        atomic_write(out) as temporary,
        atomic_write(rows_path(out)) as table,
        temporary.open("wb") as file,
        table.open("w", newline="", encoding="utf-8") as text,
    ):
        shape = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, width)}
        np.lib.format.write_array_header_1_0(file, shape)
        writer = csv.writer(text)
        writer.writerow(ROW_COLUMNS)
        nothing = np.full(width, np.nan, "<f4").tobytes()
        for row in rows:
            file.write(nothing if row.features is None else row.features.astype("<f4").tobytes())
            writer.writerow(map(shown, row.cells))
        for written in (file, text):
            written.flush()
            os.fsync(written.fileno())
        out.unlink(missing_ok=True)  # a kill between the two renames leaves no features beside the rows of others


def _read_npy(path: Path) -> Iterator[FeatureRow]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy takes a damaged header for one of Python 2
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    with rows_path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        next(reader)
        for vector, (name, status, error, size, mtime_ns, model) in zip(features, reader, strict=True):
            found = np.asarray(vector) if status == "ok" else None
            yield _row(name, found, error, size, mtime_ns, model)


def _write_parquet(out: Path, rows: Iterator[FeatureRow]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = pa.list_(pa.float32())  # of no fixed length: before version 26, pyarrow cannot read such with nulls
    texts = [(name, pa.string()) for name in ("status", "error")]
    numbers = [(name, pa.int64()) for name in ("size", "mtime_ns")]
    schema = pa.schema(
        [("path", pa.string()), ("features", vectors), *texts, *numbers, ("model", pa.string())],
    )
    with atomic_write(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        while block := list(islice(rows, BLOCK_ROWS)):
            columns: dict[str, list[Any]] = {
                "path": [row.path for row in block],
                "features": [row.features for row in block],
                "status": [row.status for row in block],
                "error": [row.error or None for row in block],
                "size": [row.size if row.size >= 0 else None for row in block],
                "mtime_ns": [row.mtime_ns if row.size >= 0 else None for row in block],
                "model": [row.model for row in block],
            }
            writer.write_table(pa.table({name: pa.array(columns[name], schema.field(name).type) for name in columns}))


def _read_parquet(path: Path) -> Iterator[FeatureRow]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BLOCK_ROWS):
            for row in batch.to_pylist():
                found = None if row["features"] is None else np.array(row["features"], np.float32)
                yield _row(row["path"], found, row["error"] or "", row["size"], row["mtime_ns"], row["model"])


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except pa.ArrowException:
        return []
