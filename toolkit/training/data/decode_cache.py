"""Samples -> decoded once, into a file that later runs use again.

Every image is decoded in parallel, through the one decoder, into a file of raw uint8 pixels; other runs on the same
images find it there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2

from toolkit.core.errors import InputError
from toolkit.core.files import atomic_write, file_digest, remove_leftovers
from toolkit.core.machine import usable_cpus
from toolkit.core.parse import parse_json
from toolkit.core.progress import SILENT, Progress
from toolkit.data.cache import writing_cache
from toolkit.data.read import read_file
from toolkit.images.decode import DEFAULT_LIMITS, decode
from toolkit.images.limits import Limits
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.images.spec import Preprocess
from toolkit.training.data.batches import Rows
from toolkit.training.data.dataset import Dataset, LabelledSample

_VERSION: Final = 2
_SUFFIXES: Final = (".u8", ".json", ".f32")
_UNFINISHED: Final = re.compile(r"\.(.+\.(?:u8|json|f32))\.[a-z0-9_]{8}\.tmp\.\w+")
_SLICE: Final = 64  # files that one worker decodes between two reports


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """The decoded images of a data set, in a file.

    Attributes:
        path: raw uint8, row i holds sample i; rows of broken files are not used.
        spec: what they were decoded to.
        samples: those of the data set, with digest, and with a reason where the file cannot be decoded.
        rows: the file, opened at once: another training may remove it, when its images have changed.
        reused: whether an earlier run had decoded them.
    """

    path: Path
    spec: Preprocess
    samples: tuple[LabelledSample, ...]
    rows: Rows
    reused: bool

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return len(self.samples) * _row_bytes(self.spec)


def decode_all(
    dataset: Dataset,
    spec: Preprocess,
    cache_dir: Path,
    *,
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress = SILENT,
) -> Decoded:
    """Decode every file of `dataset` into a file below `cache_dir`, or find it there, if nothing has changed since.

    A file that cannot be decoded is not an error: its sample says why.

    Args:
        workers: decoding threads; 0 means one per usable CPU.
        limits: how large an image may be, and what decoding it may cost.
    """
    folder = cache_dir / f"{_safe(dataset.root.name)}-{_key(str(dataset.root), _spec_key(spec))[:16]}"
    allowed = f"{limits.max_pixels} {limits.thin_memory}"
    name = _key(allowed, *(f"{s.path}\0{s.size}\0{s.mtime_ns}" for s in dataset.samples))[:32]
    pixels, index = folder / f"{name}.u8", folder / f"{name}.json"
    known = _read_index(index, pixels, dataset.samples, spec)
    if known is not None:
        with suppress(OSError, ValueError):  # another training has removed it meanwhile
            return Decoded(path=pixels, spec=spec, samples=known, rows=Rows(pixels, spec.shape), reused=True)
    with writing_cache(cache_dir):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(pixels) as temporary:
            samples = _decode_into(temporary, dataset, spec, workers or usable_cpus(), limits, progress)
            sha256 = file_digest(temporary)
            rows = Rows(temporary, spec.shape)
    with writing_cache(cache_dir), atomic_write(index) as temporary:
        sparse = {i: sample.reason for i, sample in enumerate(samples) if sample.reason}
        temporary.write_text(
            json.dumps({"sha256": sha256, "errors": sparse, "digests": [sample.digest for sample in samples]}),
            encoding="ascii",
        )
    _remove_others(folder, name)
    return Decoded(path=pixels, spec=spec, samples=tuple(samples), rows=rows, reused=False)


def _remove_others(folder: Path, name: str) -> None:
    """Remove what was decoded before these images changed, and what killed trainings left.

    Another training that runs keeps its map, and the file that it is writing.
    """
    remove_unfinished(folder)
    for old in folder.iterdir():
        if not _UNFINISHED.fullmatch(old.name) and old.stem.partition("-")[0] != name and old.suffix in _SUFFIXES:
            old.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed trainings were writing into a folder of decoded images."""
    for name in {found[1] for path in folder.iterdir() if (found := _UNFINISHED.fullmatch(path.name))}:
        remove_leftovers(folder / name)


def _decode_into(
    path: Path, dataset: Dataset, spec: Preprocess, workers: int, limits: Limits, progress: Progress
) -> list[LabelledSample]:
    samples, row_bytes = dataset.samples, _row_bytes(spec)
    root = str(dataset.root)

    def work(start: int) -> list[LabelledSample]:
        rows = range(start, min(start + _SLICE, n))
        return [_decode_row(handle, i * row_bytes, root, samples[i], spec, limits) for i in rows]

    n = len(samples)
    results: list[LabelledSample] = []
    handle = os.open(path, os.O_RDWR)
    progress.start("decoding", n, "images")
    try:
        reserve(handle, n * row_bytes)
        with one_opencv_thread(), ThreadPoolExecutor(workers) as pool:
            try:
                for done in pool.map(work, range(0, n, _SLICE)):
                    results += done
                    progress.advance(len(done))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        os.close(handle)
        progress.finish()
    return results


def reserve(handle: int, n_bytes: int) -> None:
    """Give an open file its size, with room on the disk: a full disk is an error now, and no crash of a map later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, n_bytes)
    else:
        os.truncate(handle, n_bytes)


def _decode_row(
    handle: int, offset: int, root: str, sample: LabelledSample, spec: Preprocess, limits: Limits
) -> LabelledSample:
    """Decode one file to its row; the sample with its digest, or with the reason if that fails."""
    digest = ""
    try:
        with limits.unread(sample.size):
            data = read_file(f"{root}/{sample.path}")
            digest = hashlib.sha256(data).hexdigest()
            image = decode(data, spec, limits=limits)
    except InputError as error:
        return replace(sample, reason=error.message, digest=digest)
    os.pwrite(handle, image.data, offset)
    return replace(sample, digest=digest)


def _read_index(
    index: Path, pixels: Path, samples: tuple[LabelledSample, ...], spec: Preprocess
) -> tuple[LabelledSample, ...] | None:
    try:
        fields = parse_json(index.read_text(encoding="ascii"))
        whole = is_whole(pixels, len(samples) * _row_bytes(spec), fields["sha256"])
        known = tuple(
            replace(sample, digest=str(digest), reason=str(fields["errors"].get(str(i), "")))
            for i, (sample, digest) in enumerate(zip(samples, fields["digests"], strict=True))
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return known if whole else None


def is_whole(path: Path, n_bytes: int, sha256: object) -> bool:
    """Whether a file of the cache is what was written.

    Raises:
        OSError: it is not there, or is no file.
    """
    return path.stat().st_size == n_bytes and file_digest(path) == sha256


def _row_bytes(spec: Preprocess) -> int:
    return spec.height * spec.width * spec.channels


def _spec_key(spec: Preprocess) -> str:
    cropped = f" {spec.crop_fraction}" if spec.crop_fraction != 1 else ""
    return f"{_VERSION} {cv2.__version__} {spec.height}x{spec.width} {spec.colour} {spec.resize}{cropped}"


def _key(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode(errors="surrogateescape") + b"\0\0")
    return digest.hexdigest()


def _safe(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:40] or "data"
