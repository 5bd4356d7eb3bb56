"""Results of shards -> the result that one run over all inputs would have written, byte for byte.

Beside its result every shard left a record (`inference.distributed.shard`): which shard of how many it is, a digest of
the whole listing, the model, the options, and the place of each row in the listing. The rows are taken in the order of
their places, one from each shard in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge as in_order
from itertools import pairwise, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import InputError, ModelError, UsageError
from toolkit.core.locking import lock
from toolkit.core.ownership import claim
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import printable
from toolkit.data.remote.urls import refuse_remote_out
from toolkit.inference.distributed.shard import AGAIN, Digest, ShardRecord, damaged, is_record, record_path
from toolkit.inference.extra_columns import DETECTION, EXIF
from toolkit.inference.result import InferResult, Tally, claim_reports
from toolkit.inference.result_formats import CSV, format_of, is_result, read_cells, typed, write_table
from toolkit.inference.result_table import EMPTY, ERROR, OK, UNSURE, Cells, Layout, ResultRow, side_path
from toolkit.inference.resume import Partial
from toolkit.model_files.contract import Contract
from toolkit.scaling.fetched import local_parts

SHOWN: Final = 8
"""How many shards a message names."""

STEP: Final = 1_000
"""Rows between two reports of progress."""


def merge(
    parts: Iterable[Path],
    out: Path,
    *,
    force: bool = False,
    progress: Progress = SILENT,
) -> InferResult:
    """Put the results of all shards of one run together; report and confusion are written beside `out`.

    Args:
        parts: the result files of all shards, in any order and format; reports beside them are passed over. A URL is
            copied into a temporary folder first, with the record beside it.
        out: .csv, .jsonl or .parquet.
        force: replace a file that toolkit did not write.

    Raises:
        UsageError: `out` is one of the parts, or names no format.
        InputError: a part has no record or is damaged; a shard is missing or there twice; shards differ in model,
            options or inputs. Nothing is written.
        LockedError: another run is writing `out`.
    """
    refuse_remote_out(out)
    format_of(out)
    with local_parts(parts) as there:
        return _merge(there, out, force=force, progress=progress)


def _merge(parts: list[Path], out: Path, *, force: bool, progress: Progress) -> InferResult:
    shards = _shards(_without_reports(parts), out)
    table = shards[0].table
    if format_of(out) != CSV and table.csv_safe:
        raise UsageError(
            f"the shards were labelled with --csv-safe, which is for a table that ends in {CSV}; found "
            f"{printable(str(out))}",
            hint=f"--out {printable(str(out.with_suffix(CSV)))}",
        )
    claim(out, is_result, force=force)
    claim_reports(out, force=force)
    claim(record_path(out), is_record, force=force)
    result = InferResult(out=out, device="", note="", n_shards=len(shards))
    result.detections = DETECTION in table.extra
    tally = Tally(result, table.labels, csv_safe=table.csv_safe)
    with lock(out):
        progress.start("merging", sum(shard.record.rows.n for shard in shards), "rows")
        try:
            write_table(out, table, _counted(_merged(shards), tally, progress))
        finally:
            progress.finish()
        tally.write()
        record_path(out).unlink(missing_ok=True)
    return result


def _without_reports(parts: list[Path]) -> list[Path]:
    """What a pattern such as labels-*.csv matches beside the results is passed over."""
    beside = {side_path(part, kind) for part in parts for kind in ("report.csv", "confusion.csv", "shard")}
    return [part for part in parts if part not in beside]


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A part, opened: its record, and the columns of its rows."""

    path: Path
    record: ShardRecord
    table: Layout

    @property
    def name(self) -> str:
        return printable(str(self.path))

    def rows(self) -> Iterator[tuple[int, int, Cells, ResultRow]]:
        """Place, index of the shard, cells and row, in order.

        Raises:
            InputError: what lies there is not what the record says.
        """
        digest = Digest()
        for place, cells in zip_longest(self.record.places(), self._cells()):
            if place is None or cells is None:
                break
            try:
                row = self.table.row(cells)
                _check_row(self.table, cells, row)
            except ValueError as error:
                raise self.damaged(f"row {digest.names.n + 1:,}: {error}") from None
            if row.model != self.record.fingerprint:
                raise self.damaged(f"row {digest.names.n + 1:,} is of another model or other options")
            digest.add(row.path)
            yield place, self.record.shard.index, cells, row
        else:
            if digest.names == self.record.rows:
                return
        raise self.damaged(f"its rows are not the {self.record.rows.n:,} of {self.record.path.name}")

    def _cells(self) -> Iterator[Cells]:
        """Of each row, after the header."""
        lines = self._lines()
        header = next(lines, None)
        if header is not None and header != self.table.columns:
            raise self.damaged("other columns than its record says")
        return lines

    def _lines(self) -> Iterator[Cells]:
        try:
            yield from read_cells(self.path)
        except ValueError as error:
            raise self.damaged(str(error)) from None

    def damaged(self, reason: str) -> InputError:
        return InputError(
            f"{self.name}: this result of shard {self.record.shard} is damaged ({printable(reason)})",
            hint=AGAIN,
        )


def _shards(parts: Sequence[Path], out: Path) -> list[_Shard]:
    """The parts, opened and in the order of their shards; each shard once, and all of one run."""
    if not parts:
        raise UsageError("no parts to merge", hint=f"toolkit merge labels-*.csv --out {printable(str(out))}")
    if any(_is_same(out, part) for part in parts):
        raise UsageError(
            f"{printable(str(out))}: is one of the parts, and --out",
            hint="choose another name with --out, or name the parts so that the pattern matches them alone",
        )
    if any(_is_same(record_path(out), record_path(part)) for part in parts):
        raise UsageError(
            f"{printable(str(record_path(out)))}: belongs to one of the parts, and would be removed with this --out",
            hint="choose another name with --out",
        )
    shards = sorted(map(_opened, parts), key=lambda shard: (shard.record.shard.index, shard.name))
    first = shards[0]
    for other in shards[1:]:
        _same(first, other)
    for one, other in pairwise(shards):
        if one.record.shard == other.record.shard:
            raise InputError(
                f"{one.name} and {other.name}: both are shard {one.record.shard}", hint="give each shard once"
            )
    there = {shard.record.shard.index for shard in shards}
    count = first.record.shard.count
    missing = [index for index in range(1, count + 1) if index not in there]
    if missing:
        shown = ", ".join(f"{index}/{count}" for index in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        raise InputError(
            f"{len(missing):,} of {count:,} shards {'is' if len(missing) == 1 else 'are'} missing: {shown}{more}",
            hint=f"toolkit infer {' '.join(first.record.inputs)} --shard {missing[0]}/{count} --out "
            f"labels-{missing[0]}{first.path.suffix}",
        )
    return shards


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one place, however they are spelled, or one file."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)


def _opened(path: Path) -> _Shard:
    if not path.is_file():
        begun = Partial.place(path).exists()
        found = "one that is not finished" if begun else "a folder" if path.is_dir() else "nothing"
        raise InputError(
            f"{printable(str(path))}: expected the result of a shard, found {found}",
            hint="run this shard again: it continues" if begun else "check the path",
        )
    format_of(path)
    record = ShardRecord.of(path)
    options = record.options
    try:
        contract = Contract.from_dict(record.model["contract"], source=record.path.name)
        _check(options, len(contract.labels))
        table = Layout(
            contract=contract,
            model=record.fingerprint,
            top_k=options["top_k"],
            probabilities=options["probabilities"],
            min_confidence=options["min_confidence"],
            csv_safe=options["csv_safe"],
            extra=(DETECTION,) * ("detections" in options) + (EXIF,) * options["exif"],
        )
    except (AttributeError, KeyError, TypeError, ValueError, ModelError) as error:
        raise damaged(record.path, str(error)) from None
    return _Shard(path=path, record=record, table=table)


def _check(options: dict[str, Any], n_labels: int) -> None:
    """Raises ValueError: options that no run has."""
    top_k, least = options["top_k"], options["min_confidence"]
    if type(top_k) is not int or not 1 <= top_k <= n_labels:
        raise ValueError(f"top_k {top_k!r:.20}")
    if type(least) not in (int, float) or not 0 <= least <= 1:
        raise ValueError(f"min_confidence {least!r:.20}")
    for name in ("probabilities", "csv_safe", "exif"):
        if type(options[name]) is not bool:
            raise ValueError(f"{name} {options[name]!r:.20}")


def _check_row(table: Layout, cells: Cells, row: ResultRow) -> None:
    """Raises ValueError: what no run writes."""
    "".join(cells).encode()  # lone surrogates, which JSON can hold
    if row.status not in (OK, UNSURE, ERROR, EMPTY):
        raise ValueError(f"status {row.status!r:.20}")
    if not row.ranked and any(cells[1 : 1 + 2 * table.top_k + len(table.labels) * table.probabilities]):
        raise ValueError(f"a label or a number beside status {row.status}")
    for label, _ in row.ranked:
        if label not in table.known if row.status == OK else label:
            raise ValueError(f"label {label!r:.80} beside status {row.status}")
    if row.truth and row.truth not in table.known:
        raise ValueError(f"truth {row.truth!r:.80}")
    if max(abs(row.size), abs(row.mtime_ns)) >= 1 << 63:
        raise ValueError("a size or time that no file has")
    if table.extra:
        typed(table, row)


def _same(one: _Shard, other: _Shard) -> None:
    """Refuse shards that are not of one run, and say what differs."""
    ours, theirs = one.record, other.record
    if ours.shard.count != theirs.shard.count:
        raise _differ(one, other, f"it is shard {theirs.shard}, the other {ours.shard}", "give the shards of one run")
    if ours.model != theirs.model:
        names = [name for name in ours.model if ours.model[name] != theirs.model.get(name)]
        raise _differ(one, other, f"another model ({', '.join(names)})", "label both with the same --model")
    if ours.options != theirs.options:
        raise _differ(one, other, f"other options ({_changed(ours.options, theirs.options)})", "label both alike")
    if ours.fingerprint != theirs.fingerprint:
        raise _differ(one, other, "another version of toolkit", "label both with the same version")
    if ours.listing != theirs.listing:
        listed = f"{theirs.listing.n:,} files in {' '.join(theirs.inputs)}"
        raise _differ(
            one,
            other,
            f"other inputs ({listed}; {ours.listing.n:,} in {' '.join(ours.inputs)})",
            "files came or went between the runs: run all shards again with --update, or give each the same list",
        )


def _differ(one: _Shard, other: _Shard, what: str, hint: str) -> InputError:
    return InputError(f"{other.name} does not go with {one.name}: {what}", hint=hint)


def _changed(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    names = [name for name in ours if ours[name] != theirs.get(name)]
    return ", ".join(f"--{name.replace('_', '-')} {theirs.get(name)}, not {ours[name]}" for name in names)


def _merged(shards: Sequence[_Shard]) -> Iterator[tuple[Cells, ResultRow]]:
    """The rows of all shards in the order of the listing.

    Raises:
        InputError: two shards hold the same file.
    """
    before = (-1, 0)
    for place, index, cells, row in in_order(*(shard.rows() for shard in shards), key=itemgetter(0)):
        if place == before[0] and index != before[1]:
            raise InputError(
                f"{row.path}: is in two shards",
                hint="label all shards from the same folder, so that the files have the same names",
            )
        before = (place, index)
        yield cells, row


def _counted(rows: Iterator[tuple[Cells, ResultRow]], tally: Tally, progress: Progress) -> Iterator[Cells]:
    """The cells of rows that are counted while they are written."""
    for number, (cells, row) in enumerate(rows, 1):
        tally.count((row,))
        if number % STEP == 0:
            progress.advance(STEP)
        yield cells
