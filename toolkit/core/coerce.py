"""Options from Python, brought to the types that the command line gives them, or refused with the same words."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from toolkit.core.errors import UsageError

Choice = TypeVar("Choice", bound=StrEnum)


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


def coerce(options: Any, **kinds: type[StrEnum] | type[Path]) -> None:
    """Bring fields of the frozen dataclass `options` to their types; for its `__post_init__`.

    A field whose default is None may be None.

    Args:
        options: the dataclass.
        kinds: name of a field -> its type, an enum or `Path`.

    Raises:
        UsageError: a value that the enum does not have, or something that is not a path.
    """
    optional = {field.name for field in fields(options) if field.default is None}
    for name, kind in kinds.items():
        value = getattr(options, name)
        if value is None and name in optional:
            continue
        option = f"--{name.replace('_', '-')}"
        if issubclass(kind, Path):
            try:
                checked: object = Path(value)
            except TypeError:
                raise UsageError(f"{option} {value!r}: expected a path") from None
        else:
            checked = choice(kind, value, option)
        object.__setattr__(options, name, checked)
