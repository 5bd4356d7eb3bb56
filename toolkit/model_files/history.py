"""The epochs of a training, and the table they leave in a bundle."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from toolkit.core.errors import ModelError
from toolkit.core.files import regular, write_csv


@dataclass(frozen=True, slots=True)
class Epoch:
    """The metrics of one finished epoch, counted from 1; a row of `history.csv`.

    Attributes:
        loss, accuracy: on the training images, while the weights changed.
        val_loss, val_accuracy: on the validation images, afterwards.
        seconds, images_per_s: of the training subset, without the validation.
        stage: "head" for the layers above a backbone alone, "tuning" for those with the backbone's; "" where a
            training has one stage.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    images_per_s: float
    stage: str = ""


def write_history(path: Path, epochs: Iterable[Epoch]) -> None:
    """Write `history.csv`: a header and one row per epoch."""
    write_csv(path, (field.name for field in fields(Epoch)), map(astuple, epochs))


def read_history(path: Path) -> tuple[Epoch, ...]:
    """Read what `write_history` wrote.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        with regular(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        numbers = [field.name for field in fields(Epoch)[1:-1]]
        return tuple(
            Epoch(epoch=int(row["epoch"]), stage=row.get("stage") or "", **{name: float(row[name]) for name in numbers})
            for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelError(
            f"{path}: not readable ({error})", hint="train the model again, or restore the bundle from a copy"
        ) from None
