"""What a training has reached, as it lies on the disk after each epoch: everything that the next one depends on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, is_zipfile

import numpy as np
import numpy.typing as npt

from toolkit.core.errors import ModelError
from toolkit.core.files import atomic_write, regular
from toolkit.core.text import first_line, printable
from toolkit.model_files.history import Epoch

STATE: Final = "state.npz"
_DAMAGES: Final = (
    *(BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError),
    *(NotImplementedError, RecursionError, MemoryError),
)
Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A training after an epoch.

    Attributes:
        stage: its name; "" where a training has one.
        epochs: all so far, of every stage; one at least.
        best: index in `epochs` of the best one.
        notes: what was decided on the way, for the bundle.
        variables: weights, random generators and optimizer of what is trained.
        best_values: those of the best epoch, where `best.weights.h5` has not got them.
    """

    stage: str
    epochs: tuple[Epoch, ...]
    best: int
    notes: Mapping[str, Any] = field(default_factory=dict)
    variables: Arrays = ()
    best_values: Arrays = ()


def write_state(folder: Path, state: State) -> None:
    """Write the state into `folder`; it appears whole or not at all."""
    fields = {
        "stage": state.stage,
        "epochs": [asdict(row) for row in state.epochs],
        "best": state.best,
        "notes": dict(state.notes),
    }
    arrays: dict[str, Any] = {f"v{i}": value for i, value in enumerate(state.variables)}
    arrays |= {f"b{i}": value for i, value in enumerate(state.best_values)}
    with atomic_write(folder / STATE) as temporary, temporary.open("wb") as file:
        np.savez(file, fields=np.array(json.dumps(fields)), **arrays)


def read_state(folder: Path) -> State | None:
    """The state in `folder`; None where there is none.

    Raises:
        ModelError: it is damaged.
    """
    path = folder / STATE
    try:
        with regular(path).open("rb") as file:
            if not is_zipfile(file):
                raise BadZipFile("File is not a zip file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return _state(arrays)
    except FileNotFoundError:
        return None
    except _DAMAGES as error:
        raise damaged(path, first_line(error, 120)) from None


def damaged(path: Path, why: str) -> ModelError:
    """The error for a state that cannot be continued from."""
    return ModelError(
        f"{printable(str(path))}: damaged, no training can go on from it ({why})",
        hint="--force without --resume trains again from the start",
    )


def _state(arrays: Any) -> State:
    fields = json.loads(str(arrays["fields"]))  # a loss on validation images may be NaN
    state = State(
        stage=fields["stage"],
        epochs=tuple(Epoch(**row) for row in fields["epochs"]),
        best=fields["best"],
        notes=fields["notes"],
        variables=_numbered(arrays, "v"),
        best_values=_numbered(arrays, "b"),
    )
    numbers = [value for epoch in state.epochs for key, value in asdict(epoch).items() if key != "stage"]
    if not all(isinstance(value, int | float) for value in numbers):
        raise ValueError("an epoch without its numbers")
    if type(state.best) is not int or not 0 <= state.best < len(state.epochs):
        raise ValueError("no best epoch")
    if state.stage == "tuning" and not isinstance(state.notes["tuned"], str):
        raise ValueError("nothing says what is tuned")
    return state


def _numbered(arrays: Any, letter: str) -> Arrays:
    """The arrays that are called `letter` and a number, in order."""
    n = sum(name.startswith(letter) for name in arrays.files)
    return tuple(arrays[f"{letter}{i}"] for i in range(n))
