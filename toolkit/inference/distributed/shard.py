"""One run's share of the inputs, and the record of it that `toolkit merge` puts shards together by."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import InputError, UsageError
from toolkit.core.files import atomic_write, kind_of
from toolkit.core.parse import parse_json
from toolkit.core.text import printable
from toolkit.inference.result_table import side_path

AUTO: Final = "auto"
COMPLETIONS: Final = "JOB_COMPLETIONS"
"""Kubernetes tells a pod its index but not how many there are: the job's file sets this variable."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` disjoint shards of the inputs: the files whose hashed name falls to `index` (1..count).

    >>> Shard.parse("2/3")
    Shard(index=2, count=3)
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str, variables: Mapping[str, str] = os.environ) -> Shard:
        """Read `I/N`, or with `auto` the variables that Slurm sets for an array and Kubernetes for an indexed job.

        Raises:
            UsageError: not two whole numbers with 1 <= I <= N; or no such variables.

        >>> Shard.parse("auto", {"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "64"})
        Shard(index=1, count=64)
        """
        if text == AUTO:
            return cls._auto(variables)
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"--shard {text}: expected I/N with 1 <= I <= N, or {AUTO}", hint="for three shards: 1/3, 2/3 and 3/3"
            )
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def _auto(cls, variables: Mapping[str, str]) -> Shard:
        if "SLURM_ARRAY_TASK_ID" in variables:
            names = tuple(f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT"))
            index, first, last, count = _numbers(variables, names)
            if first not in (0, 1) or last - first + 1 != count:
                raise UsageError(
                    f"--shard {AUTO}: expected an array job from 0 or 1 without gaps, found {first} to {last} with "
                    f"{count} tasks",
                    hint=f"for tasks of a larger array name the shard: --shard {index}/N",
                )
            return cls._of(index - first + 1, count)
        if "JOB_COMPLETION_INDEX" in variables:
            index, count = _numbers(variables, ("JOB_COMPLETION_INDEX", COMPLETIONS))
            return cls._of(index + 1, count)
        raise UsageError(
            f"--shard {AUTO}: neither SLURM_ARRAY_TASK_ID (a Slurm array) nor JOB_COMPLETION_INDEX (an indexed job of "
            "Kubernetes) is set",
            hint="name the shard: --shard 1/3",
        )

    @classmethod
    def _of(cls, index: int, count: int) -> Shard:
        if not 1 <= index <= count:
            raise UsageError(f"--shard {AUTO}: shard {index} of {count} does not exist", hint="check the job's size")
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, name: str) -> bool:
        """Whether the file called `name` is in this shard; the same on every machine, whatever other files there are.

        >>> Shard(4, 4).holds("photos/1.jpg")
        True
        """
        return self.count == 1 or shard_of(name, self.count) == self.index


def shard_of(name: str, count: int) -> int:
    """The one of `count` shards, 1..count, that holds the file called `name`."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count + 1


def _numbers(variables: Mapping[str, str], names: tuple[str, ...]) -> list[int]:
    found = []
    for name in names:
        text = variables.get(name, "")
        if not re.fullmatch(r"\d{1,9}", text):
            raise UsageError(
                f"--shard {AUTO}: expected a whole number in {name}, found {text!r}",
                hint=f"set {name} to the number of shards in the job's file" if name == COMPLETIONS else "",
            )
        found.append(int(text))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """What a list of names was: how many, and a digest of them in their order."""

    n: int
    digest: str

    @classmethod
    def of(cls, fields: Any) -> Names:
        """From a record.

        Raises:
            ValueError: these are not the two, or not of their types.
        """
        if not isinstance(fields, dict) or fields.keys() != {"n", "digest"}:
            raise ValueError("no number of names with their digest")
        if type(fields["n"]) is not int or not isinstance(fields["digest"], str):
            raise ValueError(f"{str(fields)[:60]} are no names")
        return cls(**fields)


class Digest:
    """The digest of names in their order, of an unlimited number of them."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.n = 0

    def add(self, name: str) -> None:
        """One more name."""
        self._hash.update(name.encode() + b"\0")
        self.n += 1

    @property
    def names(self) -> Names:
        """Of all so far."""
        return Names(n=self.n, digest=self._hash.hexdigest())


class Listing:
    """What one shard sees of the listing: every name, and the places of its own.

    The places are gaps as text, about three bytes each: a shard of a million rows holds three megabytes.
    """

    def __init__(self) -> None:
        self._all, self._own = Digest(), Digest()
        self._last = -1
        self._gaps = bytearray()

    @property
    def n(self) -> int:
        """Names so far."""
        return self._all.n

    def saw(self, name: str) -> None:
        """The next name of the listing, whatever shard holds it."""
        self._all.add(name)

    def took(self, name: str) -> None:
        """The name seen last is one of this shard; once for each of its rows."""
        self._own.add(name)
        place = self.n - 1
        self._gaps += b"%d\n" % (place - self._last)
        self._last = place

    def write(self, out: Path, shard: Shard, about: dict[str, Any]) -> None:
        """Write the record of a shard beside its result `out`; see `ShardRecord`."""
        fields = {
            "toolkit": _MARKER,
            "shard": str(shard),
            "listing": asdict(self._all.names),
            "rows": asdict(self._own.names),
            **about,
        }
        with atomic_write(record_path(out)) as temporary, temporary.open("wb") as file:
            file.write(json.dumps(fields).encode() + b"\n")
            file.write(self._gaps)


_MARKER: Final = "shard 1"

AGAIN: Final = "run this shard again, with --update to keep its rows"
"""What to do where a shard or its record is damaged."""

_FIRST_LINE_BYTES: Final = 1 << 26
"""The first line of a record names the inputs, which may be many; it is never longer than this."""

_GAP_BYTES: Final = 24
"""A place fits into fewer digits."""


def record_path(out: Path) -> Path:
    """The record of the shard whose result is `out`.

    >>> record_path(Path("labels-2.csv")).name
    'labels-2.shard'
    """
    return side_path(out, "shard")


def is_record(path: Path) -> bool:
    """Whether `path` is a record of ours."""
    with path.open("rb") as file:
        found = parse_json(file.readline(1 << 24))
    return isinstance(found, dict) and found.get("toolkit") == _MARKER


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What a shard says of itself, in a small file beside its result.

    The first line is JSON; each further line is the distance of a row's place in the whole listing from the one before.

    Attributes:
        path: the record itself.
        shard: which one of how many.
        listing: of all names that the inputs hold, for every shard the same.
        rows: of the names in the shard's own result.
        inputs: the inputs as they were given.
        model: of the file: contract, digest, arithmetic.
        options: those that change rows: top_k, min_confidence and so on.
        fingerprint: the last cell of every row.
    """

    path: Path
    shard: Shard
    listing: Names
    rows: Names
    inputs: list[str]
    model: dict[str, Any]
    options: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(cls, out: Path) -> ShardRecord:
        """The record beside the result `out`.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = record_path(out)
        if path.exists() and not path.is_file():
            raise damaged(path, f"found {kind_of(path)}")
        try:
            with path.open("rb") as file:
                fields = parse_json(file.readline(_FIRST_LINE_BYTES))
            if fields.pop("toolkit") != _MARKER:
                raise ValueError("another version")
            shard = Shard.parse(fields.pop("shard"))
            listing, rows = Names.of(fields.pop("listing")), Names.of(fields.pop("rows"))
            for name, kind in (("inputs", list), ("model", dict), ("options", dict), ("fingerprint", str)):
                if not isinstance(fields[name], kind):
                    raise ValueError(f"{name} {str(fields[name])[:20]}")
            if not all(isinstance(one, str) for one in fields["inputs"]):
                raise ValueError("inputs that are no text")
            return cls(path=path, shard=shard, listing=listing, rows=rows, **fields)
        except FileNotFoundError:
            raise InputError(
                f"{printable(str(out))}: expected {printable(path.name)} beside it, "
                "which says which shard it is; found nothing",
                hint=f"toolkit infer INPUT --shard 1/3 --out {printable(str(out))} writes both",
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
            raise damaged(path, str(error)) from None

    def places(self) -> Iterator[int]:
        """The place of each row in the whole listing, ascending.

        Raises:
            InputError: the record is damaged.
        """
        place = -1
        with self.path.open("rb") as file:
            file.readline(_FIRST_LINE_BYTES)
            while line := file.readline(_GAP_BYTES):
                if not line.strip().isdigit() or (gap := int(line)) < (place < 0):
                    raise damaged(self.path, f"{line[:20]!r} is no distance")
                place += gap
                yield place


def damaged(path: Path, reason: str) -> InputError:
    """The error for a record that cannot be read."""
    return InputError(f"{printable(str(path))}: this record of a shard is damaged ({printable(reason)})", hint=AGAIN)
