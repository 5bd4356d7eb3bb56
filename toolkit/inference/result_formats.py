"""The formats of result files beside CSV: JSON lines, Parquet and MegaDetector's JSON, with types of their own."""

from __future__ import annotations

import csv
import json
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice
from math import inf, isfinite
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import UsageError, missing_extra
from toolkit.core.files import atomic_write
from toolkit.core.ownership import HEAD_BYTES, has_columns, refuse_stdout
from toolkit.core.parse import parse_json
from toolkit.core.text import first_line, printable
from toolkit.inference import megadetector_json
from toolkit.inference.extra_columns import NUMBERS
from toolkit.inference.result_table import Cells, Layout, ResultRow, encode, read_lines

CSV: Final = ".csv"
JSONL: Final = ".jsonl"
PARQUET: Final = ".parquet"
JSON: Final = ".json"
FORMATS: Final = (CSV, JSONL, PARQUET, JSON)

OWN_COLUMNS: Final = ("path", "status", "error", "size", "mtime_ns", "model")
"""A table with these columns is one that we wrote."""

BLOCK_ROWS: Final = 20_000
"""Rows that are turned at once, and the size of a Parquet row group."""


def format_of(out: Path) -> str:
    """The format that the suffix of `out` names.

    Raises:
        UsageError: none of the four.
        MachineError: Parquet, and pyarrow is not installed.

    >>> format_of(Path("labels.jsonl"))
    '.jsonl'
    """
    refuse_stdout(out)
    suffix = out.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{printable(str(out))}: expected a name that ends in {CSV}, {JSONL}, {PARQUET} or {JSON}",
            hint=f"--out {printable(out.stem)}{CSV}",
        )
    if suffix == PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise missing_extra("pyarrow", "parquet", "a .parquet result") from None
    return suffix


def is_result(path: Path) -> bool:
    """Whether `path` is a result file of ours, by its columns."""
    if format_of(path) == CSV:
        return has_columns(path, OWN_COLUMNS, first="path")
    if format_of(path) == PARQUET:
        return set(OWN_COLUMNS) <= set(_parquet_columns(path))
    if format_of(path) == JSON:
        return megadetector_json.is_own(path)
    with path.open("rb") as file:
        return set(OWN_COLUMNS) <= set(_json_row(file.readline(HEAD_BYTES)))


def write_table(out: Path, layout: Layout, rows: Iterable[Cells]) -> None:
    """Write lines of `layout` to `out`, which appears whole or not at all."""
    write = {CSV: _write_csv, PARQUET: _write_parquet, JSON: _write_json}.get(format_of(out), _write_jsonl)
    with atomic_write(out) as temporary:
        write(temporary, layout, iter(rows))


def read_table(out: Path) -> Iterator[list[Cells]]:
    """The header and the rows of a .jsonl, .parquet or .json file as those of a CSV, in blocks.

    A file that is none of ours comes out as far as it can be read: nothing in it will match.

    Raises:
        ValueError: a value that no file of ours holds.
    """
    reader = {PARQUET: _parquet_blocks, JSON: _json_blocks}.get(format_of(out), _jsonl_blocks)
    header: Cells = []
    for block in reader(out):
        rows = []
        for fields in block:
            if not header:
                header = list(map(_whole, fields))
                rows.append(header)
            rows.append([_cell(name, fields.get(name)) for name in header])
        yield rows


def read_cells(out: Path) -> Generator[Cells, None, None]:
    """The header and the rows of a result file of any format, as those of a CSV; a torn last line is left out.

    A byte order mark, with which spreadsheets begin a table, is passed over.

    Raises:
        ValueError: what follows is nothing that a result file holds.
    """
    if format_of(out) != CSV:
        yield from chain.from_iterable(read_table(out))
        return
    try:
        with out.open("rb") as file:
            file.seek(len(BOM_UTF8) if has_mark(out) else 0)
            yield from (cells for cells, _ in read_lines(file))
    except csv.Error as error:
        raise ValueError(str(error)) from None


def has_mark(path: Path) -> bool:
    """Whether `path` begins with a byte order mark."""
    with path.open("rb") as file:
        return file.read(len(BOM_UTF8)) == BOM_UTF8


def kind_of(column: str) -> type:
    """What a column holds: str, int or float."""
    if column in ("size", "mtime_ns"):
        return int
    return float if column.startswith(("confidence", "p:")) or column in NUMBERS else str


def _value(column: str, cell: str) -> Any:
    """A cell of the CSV with its type; None where it is empty."""
    return kind_of(column)(cell) if cell else None


def _cell(column: str, value: Any) -> str:
    """The inverse of `_value`.

    Raises:
        ValueError: no file of ours holds it: a number that is not finite, or half a character.
    """
    if value is None:
        return ""
    if kind_of(column) is not float or not isinstance(value, float | int):
        return _whole(str(value))
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not isfinite(number):
        raise ValueError(f"{column} {value!s:.20} is no number that a result file holds")
    return f"{number:.6f}"


def _whole(text: str) -> str:
    """`text`, which UTF-8 can hold: JSON can also say half a character."""
    if not text.isascii():
        text.encode()
    return text


def typed(layout: Layout, row: ResultRow) -> list[Any]:
    """One row as JSON lines and Parquet hold it: text, numbers, and None where a cell is empty."""
    return [_value(name, cell) for name, cell in zip(layout.columns, layout.cells(row), strict=True)]


def json_line(layout: Layout, row: ResultRow) -> bytes:
    """One row as a line of a .jsonl file."""
    return _json_line(layout.columns, layout.cells(row))


def _json_line(columns: Cells, cells: Cells) -> bytes:
    return (json.dumps(_fields(columns, cells), ensure_ascii=False) + "\n").encode()


def _fields(columns: Cells, cells: Cells) -> dict[str, Any]:
    return {name: _value(name, cell) for name, cell in zip(columns, cells, strict=True)}


def _write_csv(path: Path, layout: Layout, rows: Iterator[Cells]) -> None:
    with path.open("wb") as file:
        file.write(encode([layout.columns]))
        while block := list(islice(rows, BLOCK_ROWS)):
            file.write(encode(block))


def _write_jsonl(path: Path, layout: Layout, rows: Iterator[Cells]) -> None:
    columns = layout.columns
    with path.open("wb") as file:
        file.writelines(_json_line(columns, row) for row in rows)


def _write_json(path: Path, layout: Layout, rows: Iterator[Cells]) -> None:
    megadetector_json.write(path, layout.labels, (_fields(layout.columns, row) for row in rows))


def _json_blocks(path: Path) -> Iterator[list[dict[str, Any]]]:
    yield megadetector_json.read(path)


def _jsonl_blocks(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open("rb") as file:
        while lines := list(islice(file, BLOCK_ROWS)):
            block = [_json_row(line) if line.endswith(b"\n") else {} for line in lines]
            yield block
            if {} in block:
                return


def _json_row(line: bytes) -> dict[str, Any]:
    """The row of a line; of a torn or foreign one an empty row, which matches no file, so the table is written anew."""
    try:
        fields = parse_json(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _write_parquet(path: Path, layout: Layout, rows: Iterator[Cells]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = layout.columns
    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, types[kind_of(name)]) for name in columns])
    with pq.ParquetWriter(path, schema) as writer:
        while block := list(islice(rows, BLOCK_ROWS)):
            cells = zip(*block, strict=True)
            values = [[_value(name, cell) for cell in column] for name, column in zip(columns, cells, strict=True)]
            arrays = [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _parquet_columns(path: Path) -> list[str]:
    """The names of the columns; [] where the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, UnicodeDecodeError, OSError):
        return []


def _parquet_blocks(path: Path) -> Iterator[list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BLOCK_ROWS):
                yield batch.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:  # of a damaged page pyarrow says OSError
        raise ValueError(first_line(error)) from None
