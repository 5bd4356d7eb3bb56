"""One small file of every kind of image, and damaged ones made of them."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image
from support.hostile_images import flat_png


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


def damaged_lzma_tiff() -> bytes:
    """libtiff says so itself, even to Pillow."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (1, 2, 3)).save(buffer, "TIFF", compression="lzma")
    return buffer.getvalue().replace(b"\xfd7zXZ", b"\x55\xaa\x55\xaa\x55")


def write(folder: Path, n: int, seed: int) -> list[Path]:
    """`n` damaged files in `folder`, named by their kind."""
    folder.mkdir(parents=True)
    dice, files = random.Random(seed), list(seeds())
    paths = []
    for i in range(n):
        name, data = files[i % len(files)]
        paths.append(folder / f"{i:04}.{name.split()[0].lower()}")
        paths[-1].write_bytes(mutated(data, dice))
    return paths


def nudged(data: bytes, dice: random.Random) -> bytes:
    """A few bytes are others, so that most of a file's structure stays and its numbers, offsets and names do not."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(changed))
        if dice.random() < 0.5:
            changed[at] ^= 1 << dice.randrange(8)
        else:
            changed[at] = dice.choice((0, 1, 2, 4, 8, 16, 64, 127, 128, 254, 255))
    return bytes(changed)
