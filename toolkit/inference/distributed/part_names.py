"""What lies in a folder of Parquet parts: the names in it, and whether a folder is one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from toolkit.core.errors import InputError, UsageError
from toolkit.core.ownership import json_object
from toolkit.core.text import printable
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.result_formats import FORMATS, PARQUET, format_of, is_result

PART_SIZE: Final = 1 << 16
"""Inputs of a part unless another number is asked for: about a minute's work, a few megabytes."""

MANIFEST: Final = "_manifest.json"
BEFORE: Final = "_before.json"
"""The manifest of a finished folder that is being changed."""

MARKER: Final = "parts 1"
PART: Final = re.compile(r"part-\d{5,}-of-\d{5,}\.parquet")
LEFTOVER: Final = re.compile(r"\.(part-.*\.tmp\.parquet|_manifest\.json\..*\.tmp\.json)")


def part_name(index: int, count: int) -> str:
    """The name of a part.

    >>> part_name(7, 64)
    'part-00007-of-00064.parquet'
    """
    return f"part-{index:05d}-of-{count:05d}.parquet"


def with_parts(out: str | os.PathLike[str], options: InferOptions) -> InferOptions:
    """The options, with a size of parts where `out` ends in a slash or is a folder of parts."""
    text = os.fspath(out)
    folder = text.endswith(("/", os.sep)) or (os.path.isdir(text) and _begun(Path(text)))
    return replace(options, part_size=PART_SIZE) if folder and options.part_size is None else options


def _begun(out: Path) -> bool:
    """Whether parts go into the folder `out` without a slash: its name is none of a file, or parts are in it."""
    return is_parts(out) and (not out.suffix or (out / MANIFEST).exists() or (out / BEFORE).exists())


def is_parts(out: Path) -> bool:
    """Whether the folder `out` is empty, or holds what we wrote and nothing else."""
    return next(_foreign(out), None) is None


def _foreign(out: Path) -> Iterator[Path]:
    for path in sorted(out.iterdir()):
        if path.is_symlink() or not path.is_file():  # first of all: a pipe would hold us up
            ours = False
        elif path.name in (MANIFEST, BEFORE):
            ours = json_object(path).get("toolkit") == MARKER
        else:
            ours = bool(LEFTOVER.fullmatch(path.name)) or (bool(PART.fullmatch(path.name)) and is_result(path))
        if not ours:
            yield path


def finished_parts(folder: Path) -> dict[Path, int]:
    """The parts of a finished folder in the order of their rows, each with how many it holds.

    Raises:
        InputError: it is none, it is not finished, or a part is missing.
    """
    shown = printable(str(folder))
    listed = json_object(folder / MANIFEST)
    again = "run the same toolkit infer line again: it does what is missing"
    if listed.get("toolkit") != MARKER:
        if any(PART.fullmatch(path.name) for path in folder.iterdir()):
            raise InputError(f"{shown}: the parts of a run that is not finished, without {MANIFEST}", hint=again)
        raise InputError(
            f"{shown}: expected a table of results, found a folder without parts of one",
            hint="toolkit infer photos/ --out labels.csv makes a table, --out labels/ a folder of parts",
        )
    try:
        parts = {folder / str(part["name"]): int(part["rows"]) for part in listed["parts"]}
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{shown}: its {MANIFEST} is damaged", hint=again) from None
    if missing := [path.name for path in parts if not PART.fullmatch(path.name) or not path.is_file()]:
        raise InputError(f"{shown}: {printable(missing[0])} is missing", hint=again)
    return parts


def refuse_among_parts(path: Path, option: str = "--out") -> None:
    """Nothing but parts is written into a folder of parts: readers take every file there for one.

    Raises:
        InputError: `path` lies in such a folder.
    """
    folder = path.parent
    if folder.is_dir() and any(PART.fullmatch(name) or name in (MANIFEST, BEFORE) for name in os.listdir(folder)):
        raise InputError(
            f"{printable(str(path))}: lies in a folder of parts, which a later infer would then refuse",
            hint=f"write it elsewhere: {option} {printable(path.name)}",
        )


def claim_parts(out: Path, inputs: Inputs, options: InferOptions) -> None:
    """Make sure that parts may be written into the folder `out` with these options.

    Raises:
        UsageError: an option is for one file.
        InputError: `out` is no folder, or holds what we did not write.
        MachineError: pyarrow is not installed.
    """
    format_of(Path(f"x{PARQUET}"))
    shown = printable(str(out))
    for option, given, hint in (
        ("--shard", inputs.shard is not None, "each shard has a file of its own: --out labels-1.parquet"),
        ("--update", options.update, "leave it out: a folder keeps the rows of unchanged files by itself"),
        ("--detections", options.detections is not None, f"--out {shown}{PARQUET}"),
        ("--csv-safe", options.csv_safe, "leave it out: the cells of Parquet have types, and none is a formula"),
    ):
        if given:
            raise UsageError(f"{option} does not go with a folder of parts, {shown}/", hint=hint)
    if out.suffix.lower() in FORMATS and not out.is_dir():
        raise UsageError(f"--part-size is for a folder of parts, not {shown}", hint=f"--out {printable(out.stem)}/")
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"{shown}: expected a folder, found a file", hint="choose another name with --out")
    foreign = next(_foreign(out), None) if out.is_dir() else None
    if foreign is not None:
        raise InputError(
            f"{shown}: holds {printable(foreign.name)}, and toolkit did not write it; nothing in it is touched",
            hint="choose another folder with --out",
        )
