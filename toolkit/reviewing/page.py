"""Results -> one HTML page to look at them, or to correct them where `toolkit review` serves it.

The page needs no network and no other file. Its own policy (CSP) lets no request out and no script run but the one
whose hash it names; names are escaped by the template engine, and the rows are data that the script reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from toolkit import __version__
from toolkit.core import pages
from toolkit.core.files import write_text
from toolkit.core.machine import usable_cpus
from toolkit.core.ownership import PAGE_MARKER, claim, is_page
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import counted, printable
from toolkit.data.thumbnail import thumbnail
from toolkit.images.thumbnail import Webp
from toolkit.inference.distributed.part_names import refuse_among_parts
from toolkit.inference.result_table import EMPTY, ERROR, OK, UNSURE
from toolkit.inference.saved_results import SavedResults, SavedRow
from toolkit.reviewing.candidates import Candidates
from toolkit.reviewing.selection import Selection, select

IMAGES: Final = 2000
"""Images that a page to look at shows, unless it is told otherwise: about 10 MB."""

BUTTONS: Final = 30
"""Labels that have a button of their own; of more, the most frequent ones have one, and the others can be typed."""

_STATUSES: Final = (OK, UNSURE, ERROR, EMPTY)


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewResult:
    """A page of results.

    Attributes:
        out: the page.
        n_rows: rows of the table.
        n_shown: images on the page.
        n_unreadable: images on the page without a thumbnail, because their file could not be read.
    """

    out: Path
    n_rows: int
    n_shown: int
    n_unreadable: int


def view(
    table: Path,
    out: Path,
    *,
    root: Path = Path(),
    images: int = IMAGES,
    force: bool = False,
    candidates: Candidates | None = None,
    progress: Progress = SILENT,
) -> ViewResult:
    """Write one self-contained page with the images of a result table.

    Args:
        table: a result file of `toolkit infer`, or its folder of parts.
        out: the page; one that toolkit wrote is replaced.
        root: the folder that relative paths in the table start from.
        images: of larger tables a sample of so many is shown, and the page says so.
        force: replace `out` whatever it is.
        candidates: asks the model about unsure images of which the table has no probabilities.
        progress: is told how far it is.

    Raises:
        InputError: no such table, none of its images is there, or `out` is a file that toolkit did not write.
    """
    check_page(out, force=force)
    results = SavedResults(table, root)
    selection = select(results, images)
    results.require_files(selection.rows)
    progress.start("thumbnails", len(selection.rows))
    thumbnails: list[Webp | None] = []
    rows: list[SavedRow] = []
    try:
        with ThreadPoolExecutor(usable_cpus(), "thumbnail") as pool:
            for found, row in pool.map(lambda row: _looked_at(results, row, candidates), selection.rows):
                thumbnails.append(found)
                rows.append(row)
                progress.advance()
    finally:
        progress.finish()
    selection = replace(selection, rows=rows)
    sources = [found.uri if found else "" for found in thumbnails]
    gone = [
        row.path for row, found in zip(selection.rows, thumbnails, strict=True) if not found and _is_gone(results, row)
    ]
    if gone:
        progress.warn(
            f"{counted(len(gone), 'image')} {'is' if len(gone) == 1 else 'are'} not there, such as {gone[0]}; "
            "--root says from which folder the paths start"
        )
    text = render(
        Shown(title=printable(table.name), selection=selection, labels=known_labels(results, selection), images=sources)
    )
    write_text(out, text)
    return ViewResult(out=out, n_rows=selection.n_rows, n_shown=len(selection.rows), n_unreadable=sources.count(""))


def check_page(out: Path, *, force: bool = False, option: str = "--out") -> None:
    """Make sure that writing the page replaces nothing but a page of ours.

    Raises:
        InputError: something else is there, or `out` lies in a folder of parts.
    """
    refuse_among_parts(out, option)
    claim(out, is_page, force=force, option=option)


def _looked_at(results: SavedResults, row: SavedRow, candidates: Candidates | None) -> tuple[Webp | None, SavedRow]:
    """The thumbnail of a row, and the row with the model's candidate where it lacks one."""
    found = _thumbnail(results, row)
    if found is not None and candidates is not None and row.status == UNSURE and not row.candidate:
        row = replace(row, candidate=candidates.label(results.file(row), row))
    return found, row


def _thumbnail(results: SavedResults, row: SavedRow) -> Webp | None:
    if row.status == ERROR:
        return None
    return thumbnail(results.file(row), box=row.detection.box if row.detection else None)


def _is_gone(results: SavedResults, row: SavedRow) -> bool:
    return row.status != ERROR and not os.path.lexists(results.file(row))


def known_labels(results: SavedResults, selection: Selection) -> list[str]:
    """Every label that the table names, sorted."""
    named = {label for row in selection.rows for label in (row.label, row.truth, row.candidate)}
    return sorted({*named, *selection.counts, *results.labels} - {""})


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a page is made of.

    Attributes:
        title: the name of the table.
        selection: its rows.
        labels: every label that can be chosen.
        images: for each row a `data:` URI, "" where there is none; None where a server has them.
        decisions: place among the rows -> label, of an earlier review.
        server: whether the page is served by `toolkit review`.
    """

    title: str
    selection: Selection
    labels: list[str]
    images: list[str] | None = None
    decisions: Mapping[int, str] = field(default_factory=dict)
    server: bool = False


def render(shown: Shown) -> str:
    """The whole page as HTML."""
    script = pages.resource(__package__, "results.js")
    text: str = (
        pages.environment(__package__)
        .get_template("results.html.j2")
        .render(
            title=shown.title,
            selection=shown.selection,
            largest=max(shown.selection.counts.values(), default=1),
            labels=shown.labels,
            server=shown.server,
            any_truth=any(row.truth for row in shown.selection.rows),
            version=__version__,
            marker=PAGE_MARKER,
            style=pages.resource(*pages.PAGE_CSS) + pages.resource(__package__, "results.css"),
            script=script,
            script_hash=pages.script_hash(script),
            data=_data(shown),
        )
    )
    return text


def _data(shown: Shown) -> str:
    """The rows as JSON that cannot end the element which holds it."""
    index = {label: i for i, label in enumerate(shown.labels)}
    content = {
        "labels": shown.labels,
        "buttons": _buttons(shown),
        "server": shown.server,
        "rows": list(_rows(shown, index)),
        "decisions": {str(place): label for place, label in shown.decisions.items()},
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _buttons(shown: Shown) -> list[str]:
    if len(shown.labels) <= BUTTONS:
        return shown.labels
    counts = shown.selection.counts
    return sorted(sorted(shown.labels, key=lambda label: (-counts.get(label, 0), label))[:BUTTONS])


def _rows(shown: Shown, index: Mapping[str, int]) -> Iterator[list[Any]]:
    images = shown.images or [""] * len(shown.selection.rows)
    for row, image in zip(shown.selection.rows, images, strict=True):
        confidence = None if row.confidence is None else round(row.confidence, 4)
        yield [
            row.path,
            index.get(row.label, -1),
            confidence,
            _STATUSES.index(row.status),
            row.error,
            index.get(row.truth, -1),
            image,
            index.get(row.candidate, -1),
        ]
