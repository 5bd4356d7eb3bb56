"""What `check` can find, and the table of what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from toolkit.core.errors import UsageError
from toolkit.core.files import fill_csv
from toolkit.core.ownership import has_columns
from toolkit.core.text import printable

SUSPECTED: Final = "suspected_label"

KINDS: Final[dict[str, str]] = {
    "empty": "files of 0 bytes",
    "truncated": "images that are cut off",
    "damaged": "images that cannot be decoded",
    "not_an_image": "files that are not images",
    "too_large": "images of more than --max-pixels",
    "unsupported": "images of a kind that is not read",
    "unreadable": "files that cannot be read",
    "unreadable_folder": "folders that cannot be read, links that lead to themselves",
    "not_a_file": "pipes, sockets, devices",
    "refused": "members of an archive that are not unpacked, names too long for a file system",
    "hidden": "hidden files",
    "no_class": "images in no class folder, or without a label",
    "extension": "extensions that do not match the content",
    "duplicate": "exact copies",
    "near_duplicate": "near copies",
    "two_labels": "one image under two labels",
    "leak": "one image in two subsets of a split",
    "odd_size": "far smaller or larger than the others",
    "odd_shape": "far narrower or wider than usual",
    "dark": "very dark",
    "bright": "very bright",
    "blank": "nearly blank",
    "blurred": "blurred",
    "grey": "grey among colour",
    "few_images": "classes with too few images",
    "imbalance": "classes far smaller than the largest",
    SUSPECTED: "labels that a model finds wrong (--model)",
}
"""Every kind of finding, in the order of reports, and what it stands for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of one file or class; the fields are the columns of the table.

    Attributes:
        kind: one of `KINDS`.
        path: the file's place in the source; of a class, its name.
        partner: the file that it resembles, "" for other kinds.
        value: the measure that was judged, "" where there is none.
        detail: the finding in a sentence.
        label: its class.
        subset: "train", "validation" or "test" in a split tree, else "".
    """

    kind: str
    path: str
    partner: str = ""
    value: str = ""
    detail: str = ""
    label: str = ""
    subset: str = ""


COLUMNS: Final = tuple(field.name for field in fields(Finding))


def parse_kinds(text: str) -> frozenset[str]:
    """`duplicate,leak` -> the kinds; `any` -> all of them.

    Raises:
        UsageError: no such kind.

    >>> sorted(parse_kinds("leak, duplicate"))
    ['duplicate', 'leak']
    """
    kinds = frozenset(part.strip() for part in text.split(",") if part.strip())
    if kinds == {"any"}:
        return frozenset(KINDS)
    if unknown := sorted(kinds - set(KINDS)):
        raise UsageError(f"--fail-on {','.join(unknown)}: no such kind", hint=f"any, or some of {', '.join(KINDS)}")
    return kinds


def write_findings(findings: Sequence[Finding], path: Path, *, csv_safe: bool = False) -> None:
    """Write the table (RFC 4180, UTF-8) into a file that its caller puts in its place.

    Args:
        csv_safe: an apostrophe before each cell that a spreadsheet would take for a formula.
    """
    rows = ([printable(cell) for cell in astuple(finding)] for finding in findings)
    fill_csv(path, COLUMNS, rows, csv_safe=csv_safe)


def is_findings(path: Path) -> bool:
    """Whether `path` is a table that `write_findings` wrote."""
    return has_columns(path, COLUMNS, first=COLUMNS[0])
