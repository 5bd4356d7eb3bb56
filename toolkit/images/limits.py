"""What decoding one image may cost: estimated from its header before anything is allocated, and held within a budget.

The estimates are the growth of resident memory that was measured for every format with OpenCV 5, rounded up.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from toolkit.core.memory import ForkedBudget, MemoryBudget, machine_budget, parse_bytes
from toolkit.images.formats.common import MAX_PIXELS, DecodeError, Header
from toolkit.images.spec import Colour

THIN_MEMORY: Final = 448 << 20
"""What a thin file, one of few bytes for its pixels, may take unless `--max-memory` says more."""

THIN_RATIO: Final = 100
"""A file is thin where its pixels, as stored, have more than this many times its bytes."""

SECONDS: Final = 2.0
"""What one file may take, or the time in which `BYTES_A_SECOND` of it are read, if that is more."""

BYTES_A_SECOND: Final = 2_000_000

SMALL_PIXELS: Final = 1 << 20
"""Images of up to this many pixels are neither estimated nor counted: a worker's own few megabytes."""

LARGE_FILE_BYTES: Final = 16 << 20
"""A smaller file is read before anything is counted."""

COUNTED: Final = 0.75
"""The share of the memory that is handed out; the rest is for what is not counted: small images, files that are being
read, and memory that was freed and is not yet given back."""

BASE_BYTES: Final = 16 << 20
"""What a codec takes for its tables and rows, whatever the image."""

WORST_BYTES_A_PIXEL: Final = 12
"""What a large file is counted as before its header is known."""

_OUTPUT: Final = {Colour.RGB: 3, Colour.GREY: 1}
"""Bytes a pixel of what OpenCV hands out; twice that for a moment, unless it decodes in place."""

_IN_PLACE: Final = frozenset(("png", "gif", "bmp", "webp", "tiff", "pnm"))

_BESIDES: Final = {"gif": 5, "webp": 5, "avif": 14, "tiff": 1, "heif": 14, "jpeg2000": 8, "jpegxl": 12}
"""Bytes a pixel that a codec holds besides; alpha comes on top where it is decoded."""

_SECOND_DECODER: Final = 8
"""Bytes a pixel that Pillow holds, and the copies out of it; twice that where values of more bits are scaled."""

_NANOSECONDS: Final = {"gif": 25.0, "png": 8.0, "tiff": 8.0, "webp": 9.0, "avif": 30.0, "jpeg": 4.0, "heif": 30.0}
"""For a pixel of the format at 8 bits; `png` and `tiff` for each of its values, 8 bits each."""


_NOTHING: Final = nullcontext()

_SHARED: Final = MemoryBudget(machine_budget())
"""For all callers that name no budget."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one decode is estimated to take: bytes of memory, seconds of a processor."""

    memory: int
    seconds: float


def decodes_in_place(header: Header, n_bytes: int) -> bool:
    """Whether a large image of few bytes is decoded by way of a file in memory, which spares a copy of the pixels."""
    large = header.pixels > 16 * SMALL_PIXELS and header.format in _IN_PLACE and not header.second_decoder
    return large and n_bytes < header.pixels // 2 and hasattr(os, "memfd_create")


def decoding_cost(header: Header, n_bytes: int, colour: Colour, reduction: int) -> Cost:
    """Estimate from the header alone.

    Args:
        n_bytes: of the file, which is in memory too.
        colour: what is asked for; a grey file is decoded in grey in any case.
        reduction: 1, 2, 4 or 8, which only a JPEG's codec applies.
    """
    pixels = header.pixels
    wanted = Colour.GREY if header.samples == 1 else colour
    if header.format == "jpeg":
        pixels = -(-pixels // reduction**2)
    each = _OUTPUT[wanted] * (1 if decodes_in_place(header, n_bytes) else 2) + _BESIDES.get(header.format, 0)
    if header.format in ("avif", "heif"):
        each += (20 if header.samples == 4 else 0) + (8 if header.bits > 8 else 0)
    elif header.format == "webp" and header.samples == 4:
        each += 4
    if header.second_decoder or header.format not in _NANOSECONDS:
        each += _SECOND_DECODER * (2 if header.bits > 8 else 1)
    each += _OUTPUT[wanted] if header.orientation >= 2 else 0
    each_ns = _NANOSECONDS.get(header.format, 12.0)
    if header.format in ("png", "tiff"):
        each_ns = 2.0 + each_ns * header.samples * max(1, header.bits // 8) / 2
    return Cost(
        BASE_BYTES + pixels * each + header.codec_bytes + n_bytes, pixels * each_ns * 1e-9 + header.codec_seconds
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a run allows its images to be and to cost.

    Attributes:
        max_pixels: larger images are refused from their header.
        budget: memory that all decodes of the run share.
        thin_memory: what a thin file may take.
    """

    max_pixels: int = MAX_PIXELS
    budget: MemoryBudget = _SHARED
    thin_memory: int = THIN_MEMORY

    @classmethod
    def of(cls, max_pixels: int = MAX_PIXELS, max_memory: int | str | None = None, *, processes: int = 0) -> Limits:
        """The limits of a run.

        Args:
            max_memory: bytes, or such as `2GB`; None is half of the memory of the machine or the container. Where it is
                given, a thin file may take all of it.
            processes: forked workers that share it; 0 for threads.
        """
        given = parse_bytes(max_memory)
        total = int(COUNTED * (given or machine_budget()))
        budget = ForkedBudget(total, processes) if processes else MemoryBudget(total)
        return cls(max_pixels=max_pixels, budget=budget, thin_memory=given or THIN_MEMORY)

    def admit(self, header: Header, n_bytes: int, colour: Colour, reduction: int) -> AbstractContextManager[None]:
        """Wait until there is memory to decode an image, and hold it within the context.

        Raises:
            DecodeError: it needs more than may ever be had.
        """
        if header.width * header.height <= SMALL_PIXELS and not header.codec_bytes and not header.codec_seconds:
            return _NOTHING
        cost = decoding_cost(header, n_bytes, colour, reduction)
        stored = header.pixels * header.samples * header.bits // 8
        allowed = self.budget.total
        thin = max(stored, header.codec_bytes) > THIN_RATIO * n_bytes
        if thin:
            allowed = min(allowed, self.thin_memory)
        if cost.memory > allowed:
            raise DecodeError("too_large", _too_costly(header, n_bytes, f"{_size(cost.memory)} of memory", allowed))
        allowed_s = max(SECONDS * max(1.0, self.thin_memory / THIN_MEMORY), n_bytes / BYTES_A_SECOND)
        if (thin or header.codec_seconds) and cost.seconds > allowed_s:
            needed = f"{cost.seconds:,.0f} seconds"
            raise DecodeError("too_large", _too_costly(header, n_bytes, needed, f"{allowed_s:.0f} seconds"))
        return self.budget.hold(cost.memory)

    def unread(self, n_bytes: int) -> AbstractContextManager[None]:
        """Hold what a large file of `n_bytes` may need to be read and decoded, before its header is known."""
        if n_bytes <= LARGE_FILE_BYTES:
            return _NOTHING
        return self.budget.hold(n_bytes + WORST_BYTES_A_PIXEL * self.max_pixels)


DEFAULT_LIMITS: Final = Limits()
"""The limits of a caller that names none; all such callers share one memory budget."""


def _too_costly(header: Header, n_bytes: int, needed: str, allowed: int | str) -> str:
    limit = _size(allowed) if isinstance(allowed, int) else allowed
    return (
        f"too large: decoding {header.width}x{header.height} pixels out of {n_bytes:,} bytes would take about "
        f"{needed}, more than {limit} (see --max-memory)"
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(1, round(n_bytes / 1e6))} MB"
