"""What is odd about the classes of a dataset, said alike by every command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from toolkit.core.errors import InputError
from toolkit.core.progress import Progress
from toolkit.core.text import counted, printable


def check_class_names(
    where: str, labels: Iterable[str], empty: Iterable[str], progress: Progress, strict: bool
) -> None:
    """Warn about class folders without an image, and about names that differ in case only.

    Args:
        where: the dataset, for the message.
        labels: the classes with images.
        empty: class folders without one.
        strict: raise instead.

    Raises:
        InputError: with `strict`, one of these was found.
    """
    said = [f"class {printable(name)} has no images; it is left out" for name in sorted(empty)]
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        alike[label.casefold()].append(printable(label))
    said += [f"classes {' and '.join(names)} differ in case only" for names in alike.values() if len(names) > 1]
    if strict and said:
        raise InputError(
            f"{where}: {'; '.join(said)} (--strict)",
            hint="put images into the class folder or take it away, rename one of two, or leave --strict out",
        )
    for text in said:
        progress.warn(text)


def warn_of_loose(where: str, images: Collection[str], progress: Progress, tables: str = "") -> None:
    """Say how many `images` of the dataset `where` are in no class folder or, of `tables`, have no label; name one."""
    if images:
        verb = ("has" if tables else "lies") if len(images) == 1 else ("have" if tables else "lie")
        what = f"no label in {tables}" if tables else f"in no class folder of {where}"
        progress.warn(f"{counted(len(images), 'image')} {verb} {what}, such as {printable(min(images))}")
