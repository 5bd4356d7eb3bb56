"""Whether a model is judged by images that it was trained on: their bytes against the digests in its bundle."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from toolkit.core.errors import ModelError
from toolkit.core.files import file_digest
from toolkit.core.progress import Progress
from toolkit.core.text import printable
from toolkit.data.split_tree import TRAIN, find_split_tree, subset_of
from toolkit.model_files.bundle import BUNDLE_JSON, load_bundle
from toolkit.model_files.contract import Contract


def trained_digests(model_file: Path, contract: Contract) -> frozenset[str] | None:
    """SHA-256 (hex) of every image that the model was trained on.

    Args:
        model_file: the file that is run; its bundle is the folder that it lies in.
        contract: of the file; a bundle with other weights says nothing about it.

    Returns:
        None where that is not known: no bundle, one of other weights, or one of a version that kept no digests.
    """
    if not (model_file.parent / BUNDLE_JSON).is_file():
        return None
    try:
        bundle = load_bundle(model_file.parent)
        rows = [row for row in bundle.rows() if row.subset == "train"]
    except ModelError:
        return None
    if bundle.contract.fingerprint != contract.fingerprint or not rows or not all(row.sha256 for row in rows):
        return None
    return frozenset(row.sha256 for row in rows)


def is_among(path: str, digests: frozenset[str]) -> bool:
    """Whether the bytes of the file at `path` are among `digests`."""
    try:
        return file_digest(path) in digests
    except OSError:
        return False


def describe(n: int, n_readable: int) -> str:
    """What `n` of `n_readable` images that the model was trained on mean, in a sentence without its full stop."""
    if not n:
        return "none of the images is one that the model was trained on (compared by their bytes)"
    return (
        f"{n:,} of {n_readable:,} images are among those that the model was trained on; "
        "its metrics do not tell how it does on new images"
    )


def report_overlap(data: Path, n: int | None, n_readable: int, progress: Progress) -> None:
    """Tell `progress` how many images the model was trained on; nothing where that is not known."""
    if n is not None:
        tell = progress.warn if n else progress.line
        tell(f"{printable(str(data))}: {describe(n, n_readable)}{_instead(data) if n else ''}")


def _instead(data: Path) -> str:
    """What to do about it, to stand behind a sentence."""
    shown, around = (shlex.quote(printable(os.path.normpath(path))) for path in (data, data / ".."))
    subset = subset_of(data.name) if find_split_tree(data / "..") else ""
    if subset == TRAIN:
        return f"; evaluate what was held out: toolkit evaluate {around}"
    if subset:
        return f"; toolkit check {around} lists the copies"
    return f"; hold some back: toolkit split {shown}, then train and evaluate with what it makes"
