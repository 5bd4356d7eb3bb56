"""Files of class names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from toolkit.core.errors import InputError
from toolkit.core.files import regular


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line; empty lines at the end are left out.

    Raises:
        InputError: missing, not UTF-8, or with an empty or repeated name.
    """
    try:
        lines = regular(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", hint="check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: no UTF-8 text", hint="one class name a line, as UTF-8") from None
    labels = tuple(line.strip() for line in lines)
    repeated = sorted(label for label, n in Counter(labels).items() if n > 1)
    if len(labels) < 2 or "" in labels or repeated:
        found = f"{repeated[0]!r} twice" if repeated else f"{len(labels)} lines" if len(labels) < 2 else "an empty line"
        raise InputError(f"{path}: expected at least two different class names, one a line; found {found}")
    return labels
