"""Names of folders and files that every system allows: Linux, macOS, Windows and what reads their disks."""

from __future__ import annotations

import os
import re
from typing import Final

MAX_BYTES: Final = 255
"""The longest name of a file or folder."""

MAX_SUFFIX: Final = 20
"""A longer one is none."""

_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def folder_problem(label: str) -> str:
    """Why no folder can have the name `label`; "" where one can.

    >>> folder_problem("Cat"), folder_problem("T-shirt/top"), folder_problem("nul")
    ('', "it holds '/'", 'it is the name of a device on Windows')
    """
    if found := _FORBIDDEN.search(label):
        return f"it holds {found[0]!r}"
    if not label or label.startswith("."):
        return "it is empty" if not label else "it begins with a dot"
    if label.endswith((" ", ".")):
        return "it ends with a space or a dot"
    if _DEVICES.fullmatch(label):
        return "it is the name of a device on Windows"
    n_bytes = len(os.fsencode(label))
    return f"it has {n_bytes:,} bytes, and {MAX_BYTES} are the most" if n_bytes > MAX_BYTES else ""


def folder_name(label: str) -> str:
    """The nearest name to `label` that a folder can have, short enough to get a number behind it.

    >>> folder_name("T-shirt/top"), folder_name("nul")
    ('T-shirt_top', '_nul')
    """
    name = shortened(_FORBIDDEN.sub("_", label)[:100], 200).rstrip(". ").lstrip(" ")
    name = "_" + name[1:] if name.startswith(".") else name
    return f"_{name}" if not name or _DEVICES.fullmatch(name) else name


def another_name(path: str, ending: str) -> str:
    """`path` with `ending` before the suffix of its name, which is cut where it would be too long.

    >>> another_name("Cat/1.jpg", "-0a")
    'Cat/1-0a.jpg'
    """
    folder, slash, name = path.rpartition("/")
    stem, suffix = os.path.splitext(name)
    if len(suffix) > MAX_SUFFIX:
        stem, suffix = name, ""
    return f"{folder}{slash}{shortened(stem, MAX_BYTES - len(os.fsencode(ending + suffix)))}{ending}{suffix}"


def shortened(name: str, n_bytes: int) -> str:
    """The beginning of `name` that fits into `n_bytes` of UTF-8, in whole characters.

    >>> shortened("Häuser", 2), shortened("Häuser", 3)
    ('H', 'Hä')
    """
    if len(name) * 4 <= n_bytes:
        return name
    while name and len(os.fsencode(name)) > n_bytes:
        name = name[:-1]
    return name
