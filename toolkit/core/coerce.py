"""Options from Python, brought to the types that the command line gives them, or refused with the same words."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from toolkit.core.errors import UsageError

Choice = TypeVar("Choice", bound=StrEnum)
Options = TypeVar("Options")


def choice(kind: type[Choice], value: object, option: str) -> Choice:
    """`value`, a member of `kind` or its text, as the member.

    Args:
        kind: the choices.
        value: what was given.
        option: its name, for the error.

    Raises:
        UsageError: there is no such choice.
    """
    try:
        return kind(value)  # type: ignore[arg-type]
    except ValueError:
        known = [member.value for member in kind]
        from difflib import get_close_matches

        close = get_close_matches(str(value), known, 1)
        raise UsageError(
            f"{option} {value}: expected {', '.join(known[:-1])} or {known[-1]}",
            hint=f"did you mean {close[0]}?" if close else f"{option} {known[0]}",
        ) from None


def path_text(value: object, option: str) -> str:
    """A path as text; names of remote files keep their form.

    Raises:
        UsageError: neither text nor an `os.PathLike` of text, or one that no file can have.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or "\0" in text:
        raise UsageError(f"{option} {value!r:.60}: expected a path")
    return text


def path(value: object, option: str) -> Path:
    """A path, given as text or as an `os.PathLike`.

    Raises:
        UsageError: something else.
    """
    return Path(path_text(value, option))


def whole(value: object, option: str) -> int:
    """A whole number, or its text.

    >>> whole("3", "--epochs")
    3

    Raises:
        UsageError: something else; True and False are no numbers.
    """
    try:
        if isinstance(value, str) and value.isascii():
            return int(value)
        if not isinstance(value, (bool, str)):
            return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        pass
    raise UsageError(f"{option} {value!r:.60}: expected a whole number")


def real(value: object, option: str) -> float:
    """A number, or its text.

    Raises:
        UsageError: something else.
    """
    try:
        if not isinstance(value, bool):
            return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"{option} {value!r:.60}: expected a number")


def flag(value: object, option: str) -> bool:
    """True or False, and no text that says so.

    Raises:
        UsageError: something else.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{option} {value!r:.60}: expected True or False")
    return value


def given(options: Options | None, kind: type[Options]) -> Options | None:
    """`options`, where they are of the class that a function takes.

    Raises:
        UsageError: they are something else, such as a dict.
    """
    if options is not None and not isinstance(options, kind):
        raise UsageError(
            f"options {options!r:.60}: expected {kind.__name__}", hint=f"{kind.__name__}(...), from toolkit import it"
        )
    return options


_PLAIN: Final[Mapping[type, Callable[[object, str], object]]] = {Path: path, int: whole, float: real, bool: flag}


def coerce(options: Any, **kinds: type[StrEnum | Path | float | bool]) -> None:
    """Bring fields of the frozen dataclass `options` to their types; for its `__post_init__`.

    A field whose default is None may be None.

    Args:
        options: the dataclass.
        kinds: name of a field -> its type: an enum, `Path`, `int`, `float` or `bool`.

    Raises:
        UsageError: a value that the type does not have.
    """
    optional = {field.name for field in fields(options) if field.default is None}
    for name, kind in kinds.items():
        value = getattr(options, name)
        if value is None and name in optional:
            continue
        option = f"--{name.replace('_', '-')}"
        checked = choice(kind, value, option) if issubclass(kind, StrEnum) else _PLAIN[kind](value, option)
        object.__setattr__(options, name, checked)
