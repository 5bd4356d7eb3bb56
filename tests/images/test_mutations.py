"""Damaged images of every format: no crash, no hang, bounded memory; each is pixels or an error."""

from __future__ import annotations

import io
import random
import resource
from collections.abc import Iterator

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from support.hostile_images import flat_png

from toolkit.images.decode import decode
from toolkit.images.header import DecodeError
from toolkit.images.limits import Limits
from toolkit.images.spec import Colour, Preprocess

SPECS = (Preprocess(height=16, width=16), Preprocess(height=40, width=24, colour=Colour.GREY))
MAX_GROWTH = 512 << 20


def seeds() -> Iterator[tuple[str, bytes]]:
    """One small file of every kind."""
    pillow_heif.register_heif_opener()
    coarse = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((61, 47), Image.Resampling.BICUBIC)

    def made(mode: str, kind: str, **options: object) -> tuple[str, bytes]:
        buffer = io.BytesIO()
        picture.convert(mode).save(buffer, kind, **options)
        return f"{kind} {mode} {options}", buffer.getvalue()

    yield made("RGB", "JPEG")
    yield made("L", "JPEG", progressive=True)
    yield made("RGB", "JPEG", progressive=True)
    yield made("CMYK", "JPEG")
    yield made("RGB", "JPEG", subsampling=0, restart_marker_blocks=2)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        yield made("RGB", "JPEG", exif=exif)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield made(mode, "PNG")
    for bits, colour in ((2, 0), (4, 3), (16, 0), (16, 6)):
        yield f"PNG {bits} {colour}", flat_png(24, bits, colour, interlace=bits == 16)
    yield made("RGB", "PNG", save_all=True, append_images=[picture])
    yield made("P", "GIF", save_all=True, append_images=[picture.rotate(180)])
    yield made("RGBA", "WEBP", lossless=True)
    yield made("RGB", "WEBP")
    yield made("RGBA", "WEBP", save_all=True, append_images=[picture])
    for mode in ("1", "P", "RGB"):
        yield made(mode, "BMP")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma"):
        yield made("RGB", "TIFF", compression=compression)
    yield made("L", "TIFF", big_tiff=True)
    yield made("1", "TIFF", compression="group4")
    for kind in ("PPM", "AVIF", "HEIF", "JPEG2000", "TGA", "QOI"):
        yield made("RGB", kind)
    yield made("RGB", "ICO", sizes=[(32, 32)])


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Cut, flip, overwrite, swap or repeat, once to four times."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at, other = sorted((dice.randrange(len(changed)), dice.randrange(len(changed))))
        kind = dice.randrange(7)
        if kind == 0 and at > 8:
            del changed[at:]
        elif kind == 1:
            changed[at] ^= 1 << dice.randrange(8)
        elif kind == 2:
            changed[at] = dice.choice((0, 1, 127, 128, 255))
        elif kind == 3:  # a length or a size
            changed[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\0\0"))
        elif kind == 4:
            changed[at:other] = changed[at:other][::-1]
        elif kind == 5:
            changed[at:at] = changed[at:other][:2_000]
        else:
            del changed[at : min(other, at + 64)]
    return bytes(changed)


def run(n: int, seed: int) -> tuple[int, int]:
    """How many of `n` mutations were decoded, and how many refused."""
    dice = random.Random(seed)
    files = list(seeds())
    limits = Limits(max_pixels=50_000_000)
    decoded = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(n):
        name, data = files[i % len(files)]
        spec = SPECS[i % 2]
        changed = mutated(data, dice)
        try:
            pixels = decode(changed, spec, limits=limits)
        except DecodeError:
            refused += 1
        else:
            decoded += 1
            assert pixels.shape == spec.shape, name
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert growth < MAX_GROWTH, (name, i, growth)
    return decoded, refused


def test_every_seed_decodes() -> None:
    for name, data in seeds():
        assert decode(data, SPECS[0]).shape == SPECS[0].shape, name


def test_some_mutations() -> None:
    decoded, refused = run(1_000, seed=1)
    assert decoded > 100
    assert refused > 100


@pytest.mark.slow
def test_twenty_thousand_mutations() -> None:
    decoded, refused = run(20_000, seed=2)
    assert decoded + refused == 20_000
