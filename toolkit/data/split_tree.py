"""The names of the subsets of a split tree, in one place."""

from __future__ import annotations

from typing import Final

TRAIN_NAMES: Final = ("train", "training")
VALIDATION_NAMES: Final = ("validation", "val", "valid", "test", "testing")
"""Folders of a split tree; of those for validation the first that is there is taken."""
