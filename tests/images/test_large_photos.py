"""Honest large images: what decoding them takes is what was estimated, and they are decoded right by default."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.hostile_images import tiff, tiff_tags
from support.measured import measure

from toolkit.images.decode import Image, decode
from toolkit.images.header import read_header
from toolkit.images.limits import Limits, decoding_cost
from toolkit.images.pixels import as_image
from toolkit.images.spec import Colour, Preprocess

SPEC = Preprocess(height=224, width=224)
TILE = 512

SAMPLING = {"420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}


def photo(height: int, width: int) -> Image:
    """uint8 (height, width, 3), BGR: a few soft shapes, and noise as of a camera in a part of it."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    pixels = as_image(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    part = pixels[: height // 4]
    np.bitwise_xor(part, np.random.default_rng(1).integers(0, 4, part.shape, np.uint8), out=part)
    return pixels


def jpeg(pixels: Image, *, progressive: bool, sampling: str = "420") -> bytes:
    """As a camera writes it."""
    settings = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[sampling]]
    return bytes(cv2.imencode(".jpg", pixels, settings)[1])


def png(pixels: Image) -> bytes:
    """As quick as zlib packs."""
    return bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def tiled_tiff(pixels: Image) -> bytes:
    """A map in tiles, deflate."""
    height, width = pixels.shape[:2]
    body, offsets, lengths = b"", [], []
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            part = pixels[top : top + TILE, left : left + TILE, ::-1]
            tile = np.zeros((TILE, TILE, 3), np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            packed = zlib.compress(tile.tobytes(), 1)
            offsets.append(8 + len(body))
            lengths.append(len(packed))
            body += packed + bytes(-len(packed) % 4)
    n, place = len(offsets), 8 + len(body)
    kept = [tag for tag in tiff_tags(width, compression=8, samples=3) if tag[0] not in (257, 258, 273, 278, 279)]
    tags = [
        (257, 4, 1, height), (258, 3, 3, place + 8 * n), (322, 4, 1, TILE), (323, 4, 1, TILE), (324, 4, n, place),
        (325, 4, n, place + 4 * n),
    ]  # fmt: skip
    return tiff(sorted(kept + tags), body + struct.pack(f"<{2 * n}I3HH", *offsets, *lengths, 8, 8, 8, 0))


def striped_tiff(pixels: Image) -> bytes:
    """A scan in strips, LZW."""
    return bytes(cv2.imencode(".tif", pixels, [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW])[1])


KINDS: dict[str, Callable[[Image], bytes]] = {
    "baseline.jpg": lambda pixels: jpeg(pixels, progressive=False),
    "baseline_grey.jpg": lambda pixels: jpeg(pixels[:, :, 0], progressive=False),
    "progressive.jpg": lambda pixels: jpeg(pixels, progressive=True),
    "progressive_444.jpg": lambda pixels: jpeg(pixels, progressive=True, sampling="444"),
    "progressive_grey.jpg": lambda pixels: jpeg(pixels[:, :, 0], progressive=True),
    "rgb.png": png,
    "grey.png": lambda pixels: png(pixels[:, :, 0]),
    "tiles.tif": tiled_tiff,
    "strips.tif": striped_tiff,
}


def check(names: list[str], height: int, width: int, folder: Path) -> None:
    """Decode each in a process of its own; compare memory with the estimate, and pixels with the original's."""
    pixels = photo(height, width)
    for name in names:
        (folder / name).write_bytes(KINDS[name](pixels))
    small = cv2.cvtColor(cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    blue = cv2.resize(pixels[:, :, 0], (224, 224), interpolation=cv2.INTER_AREA)
    del pixels
    for taken in measure(folder / name for name in names):
        data = (folder / taken.name).read_bytes()
        assert taken.outcome == "decoded", taken
        header = read_header(data)
        costs = [decoding_cost(header, len(data), colour, 8).memory for colour in (Colour.RGB, Colour.GREY)]
        assert taken.growth < max(costs) * 1.1 + (16 << 20), (taken, costs)
        assert max(costs) < 2.5 * taken.growth + (64 << 20), (taken, costs)
        if taken.name.startswith("baseline"):  # reduced while it is decoded: neither all pixels nor coefficients
            assert taken.growth < height * width // 2 + len(data) + (16 << 20), taken
        found = decode(data, SPEC, limits=Limits.of(max_memory="4GB")).astype(int)
        wanted = blue[:, :, None] if "grey" in taken.name else small
        assert np.abs(found - wanted).mean() < 2, taken.name


def test_images_of_24_megapixels(tmp_path: Path) -> None:
    check(["baseline.jpg", "baseline_grey.jpg", "progressive.jpg", "progressive_grey.jpg"], 4_000, 6_000, tmp_path)


@pytest.mark.slow
def test_images_of_108_megapixels(tmp_path: Path) -> None:
    check([name for name in KINDS if "grey" not in name], 9_000, 12_000, tmp_path)
    check(["grey.png"], 4_000, 6_000, tmp_path)


def test_a_progressive_jpeg_is_estimated_by_its_coefficients() -> None:
    pixels = photo(1_500, 2_000)
    for sampling, values in (("420", 1.5), ("444", 3.0)):
        header = read_header(jpeg(pixels, progressive=True, sampling=sampling))
        assert header.codec_bytes == pytest.approx(2 * values * 1_500 * 2_000, rel=0.02)
    assert read_header(jpeg(pixels, progressive=False)).codec_bytes == 0
    # 200 megapixels of 4:2:0 are 600 MB of coefficients: an error where that never fits, and no crash.
    head = bytearray(jpeg(pixels, progressive=True))
    at = head.index(b"\xff\xc2")
    head[at + 5 : at + 9] = struct.pack(">HH", 12_000, 16_000)
    header = read_header(bytes(head) + bytes(12_000 * 16_000 // 64))
    assert 560_000_000 < decoding_cost(header, 20_000_000, Colour.RGB, 8).memory < 680_000_000
