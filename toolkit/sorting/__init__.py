"""A table of results -> a folder for each label."""

from toolkit.sorting.sort import SortOptions, SortResult, Undone, sort, undo

__all__ = ["SortOptions", "SortResult", "Undone", "sort", "undo"]
