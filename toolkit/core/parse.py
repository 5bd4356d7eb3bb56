"""JSON and TOML from files that anybody may have written: what is wrong with them is always a `ValueError`."""

from __future__ import annotations

import json
import re
from math import inf, isfinite
from typing import Any, Final, NoReturn

MAX_KEY_PARTS: Final = 64
"""Of a TOML key such as `a.b.c`."""

_DEEP_KEY: Final = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}"""
)


def parse_json(text: str | bytes) -> Any:
    """The value in `text`; a byte order mark before it is passed over.

    Raises:
        ValueError: not JSON, NaN or infinite numbers, numbers of thousands of digits, or nested too deeply.

    >>> parse_json('[1, 2]')
    [1, 2]
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The tables in `text`; a byte order mark before them is passed over.

    Raises:
        ValueError: not TOML, numbers of thousands of digits, or nested too deeply.
    """
    import tomllib  # here, as it takes 9 ms that most commands need not spend

    if _DEEP_KEY.search(text):  # tomllib takes a time that grows with the square of their number
        raise ValueError(f"a key of more than {MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def share(value: str | float) -> float:
    """A probability, or another share of a whole.

    Raises:
        ValueError: no number from 0 to 1.

    >>> share("0.25")
    0.25
    """
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not 0 <= number <= 1:
        raise ValueError(f"{value!s:.20} is no number from 0 to 1")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text:.20} is too large a number")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")
