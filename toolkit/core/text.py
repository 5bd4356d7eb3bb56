"""Text that is safe to print and to write."""

from __future__ import annotations

import os


def printable(name: str) -> str:
    r"""`name` as valid UTF-8 text: bytes that are not UTF-8 appear as `\xNN`.

    >>> printable("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    if name.isascii():
        return name
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line of an error of another library, cut to `limit` characters; its type where it says nothing.

    >>> first_line(ValueError("no such operator\\nat node 7")), first_line(KeyError())
    ('no such operator', 'KeyError')
    """
    lines = str(error).strip().splitlines()
    return lines[0][:limit] if lines else type(error).__name__
