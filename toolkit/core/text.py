"""Text that is safe to print and to write."""

from __future__ import annotations

import os
import re


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


def harmless(text: str, *, document: bool = False) -> str:
    r"""`text` as a terminal may show it: control characters and marks that turn the direction of text are escaped.

    Line breaks are kept where the next line is indented, as ours are, so that no name of a file begins a line.

    Args:
        document: all line breaks are kept.

    >>> harmless("\x1b[31mCat\nerror: x")
    '\\x1b[31mCat\\nerror: x'
    """
    if text.isprintable():
        return text
    return (_UNSAFE_IN_DOCUMENTS if document else _UNSAFE).sub(lambda found: _escaped(found[0]), text)


_CONTROL = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff"
_UNSAFE_IN_DOCUMENTS = re.compile(f"[{_CONTROL}]")
_UNSAFE = re.compile(f"[{_CONTROL}]|\\n(?!  )")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def counted(n: int, noun: str) -> str:
    """A number of things, in words.

    >>> counted(1, "file"), counted(2000, "file"), counted(2, "readable class")
    ('1 file', '2,000 files', '2 readable classes')
    """
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"-[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?")


def no_formula(cell: str) -> str:
    """`cell` as a spreadsheet shows it and never computes it: what begins like a formula is begun with an apostrophe.

    A negative number is no formula.

    >>> no_formula("=1+1"), no_formula("a=1"), no_formula("-0.5")
    ("'=1+1", 'a=1', '-0.5')
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def with_formula(cell: str) -> str:
    """The inverse of `no_formula`: what `cell` was before."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def first_line(error: BaseException | str, limit: int = 300) -> str:
    """The first line of what another library says, cut to `limit` characters, without control characters.

    Of an error that says nothing, its type.

    >>> first_line(ValueError("no such operator\\nat node 7")), first_line(KeyError())
    ('no such operator', 'KeyError')
    """
    lines = str(error).strip().splitlines()
    return harmless(lines[0][:limit]) if lines else type(error).__name__


def ascii_word(text: str) -> str:
    """The text with every character but ASCII letters and digits as "_".

    >>> ascii_word("Größe 1")
    'Gr__e_1'
    """
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)
