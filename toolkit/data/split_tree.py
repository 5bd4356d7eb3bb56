"""The subsets of a split tree, for every command: `train/` beside `validation/` or `test/`, in the names people use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"

TABLE: Final = "split.csv"
STATE: Final = "split.json"
"""What `toolkit split` leaves beside the folders: a row for each source file; its settings."""

FOLDERS: Final = {TRAIN: ("train", "training"), VALIDATION: ("validation", "val", "valid"), TEST: ("test", "testing")}
"""Subset -> the names of its folder, in any case."""

_SUBSETS: Final = {name: subset for subset, names in FOLDERS.items() for name in names}


def subset_of(folder: str) -> str:
    """The subset that a folder of this name holds, "" where it is none.

    >>> subset_of("Training"), subset_of("val"), subset_of("Cat")
    ('train', 'validation', '')
    """
    return _SUBSETS.get(folder.lower(), "")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTree:
    """The folders of a split tree; at least one of validation and test is there.

    Attributes:
        train: what a model is trained on.
        validation: what training uses to choose an epoch.
        test: what no training has seen.
    """

    train: Path
    validation: Path | None = None
    test: Path | None = None

    @property
    def for_validation(self) -> Path:
        """The folder that training validates with: `validation`, else `test`."""
        found = self.validation or self.test
        assert found is not None
        return found

    @property
    def for_evaluation(self) -> Path:
        """The folder that a model is judged by: `test`, else `validation`."""
        found = self.test or self.validation
        assert found is not None
        return found


def find_split_tree(root: Path) -> SplitTree | None:
    """The subsets in `root`; None where there is no folder for training, or none beside it."""
    folders: dict[str, Path] = {}
    if root.is_dir():
        for name in sorted(entry.name for entry in os.scandir(root) if entry.is_dir()):
            if subset := subset_of(name):
                folders.setdefault(subset, root / name)
    if TRAIN not in folders or len(folders) == 1:
        return None
    return SplitTree(**folders)
