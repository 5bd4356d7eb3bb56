"""Every format and kind against Pillow's pixels, within a stated tolerance; what is not read says so."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps
from support.hostile_images import Tag, flat_png, gif, gif_pixels, png, png_chunk, tiff

from toolkit.images.decode import decode
from toolkit.images.header import DecodeError, read_header
from toolkit.images.spec import Colour, Preprocess

Pixels = npt.NDArray[np.uint8]


def smooth(width: int = 96, height: int = 64) -> Image.Image:
    """A colourful image without sharp edges, so that chroma subsampling costs little."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes, like: Pixels) -> npt.NDArray[np.int64]:
    """At its own size."""
    return decode(data, Preprocess(height=like.shape[0], width=like.shape[1])).astype(np.int64)


def rgb(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"))


KINDS: list[tuple[str, str, dict[str, object], float]] = [
    ("RGB", "JPEG", {"quality": 95}, 1.5),
    ("RGB", "JPEG", {"quality": 95, "progressive": True}, 1.5),
    ("RGB", "JPEG", {"quality": 95, "subsampling": 0, "restart_marker_blocks": 3}, 1.5),
    ("L", "JPEG", {"quality": 95}, 1.0),
    ("L", "JPEG", {"quality": 95, "progressive": True}, 1.0),
    ("CMYK", "JPEG", {"quality": 95}, 2.0),
    ("RGB", "MPO", {"quality": 95}, 1.5),
    ("RGB", "PNG", {}, 0),
    ("RGBA", "PNG", {}, 0),
    ("LA", "PNG", {}, 0),
    ("L", "PNG", {}, 0),
    ("P", "PNG", {"bits": 4}, 0),
    ("1", "PNG", {}, 0),
    ("RGB", "WEBP", {"lossless": True}, 0),
    ("RGB", "WEBP", {"quality": 95}, 1.5),
    ("P", "GIF", {}, 0),
    ("L", "GIF", {}, 0),
    ("RGB", "BMP", {}, 0),
    ("P", "BMP", {}, 0),
    ("1", "BMP", {}, 0),
    ("RGB", "TIFF", {}, 0),
    ("L", "TIFF", {"compression": "tiff_lzw"}, 0),
    ("CMYK", "TIFF", {}, 2.0),
    ("P", "TIFF", {"compression": "packbits"}, 0),
    ("RGB", "TIFF", {"compression": "lzma"}, 0),
    ("RGB", "TIFF", {"compression": "zstd"}, 0),
    ("RGB", "TIFF", {"compression": "jpeg", "quality": 95}, 1.5),
    ("RGB", "TIFF", {"big_tiff": True, "compression": "tiff_lzw"}, 0),
    ("L", "TIFF", {"big_tiff": True}, 0),
    ("F", "TIFF", {}, 0.6),
    ("RGB", "PPM", {}, 0),
    ("L", "PPM", {}, 0),
    ("RGB", "AVIF", {"quality": 95}, 1.5),
    ("RGB", "JPEG2000", {}, 0),
    ("L", "JPEG2000", {"no_jp2": True}, 0),
    ("RGB", "JXL", {"lossless": True}, 0),
    ("RGB", "TGA", {}, 0),
    ("RGBA", "TGA", {"compression": "tga_rle"}, 0),
    ("L", "TGA", {}, 0),
    ("RGB", "QOI", {}, 0),
]
"""Mode, format, options, and how far from Pillow's the pixels may be in the mean."""


@pytest.mark.parametrize(("mode", "kind", "options", "tolerance"), KINDS)
def test_the_pixels_are_those_of_pillow(mode: str, kind: str, options: dict[str, object], tolerance: float) -> None:
    if kind == "JXL":
        import pillow_jxl  # noqa: F401
    data = encoded(smooth().convert(mode), kind, **options)
    expected = rgb(Image.open(io.BytesIO(data)))
    assert np.abs(decoded(data, expected) - expected).mean() <= tolerance
    grey = decode(data, Preprocess(height=64, width=96, colour=Colour.GREY))[..., 0].astype(int)
    luma = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(grey - luma).mean() <= max(tolerance, 1.0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(smooth(), "PNG", exif=exif))))
    picture = smooth()
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
        picture.info["exif"] = exif.tobytes()  # it becomes the boxes `irot` and `imir`
        data = encoded(picture, kind, quality=95)
    else:
        data = encoded(picture, kind, exif=exif, **({} if kind == "PNG" else {"quality": 95}))
    assert np.abs(decoded(data, rgb(upright)) - rgb(upright)).mean() < 3


def test_heic_against_a_second_decoder(tmp_path: Path) -> None:
    """FFmpeg's HEVC decoder, which OpenCV brings for videos, knows nothing of libheif."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    path = tmp_path / "photo.heic"
    for size in ((96, 64), (640, 480)):
        path.write_bytes(encoded(smooth(*size), "HEIF", quality=90))
        whole, frame = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()
        if not whole:
            pytest.skip("this OpenCV has no FFmpeg that reads HEIF")
        expected = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        assert np.abs(decoded(path.read_bytes(), np.asarray(expected, np.uint8)) - expected).mean() < 1.5


def test_heic_is_reduced_as_every_other_format() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    large = smooth(640, 480)
    spec = Preprocess(height=60, width=80)
    found = decode(encoded(large, "HEIF", quality=95), spec).astype(int)
    assert np.abs(found - decode(encoded(large, "PNG"), spec)).mean() < 1.5


def grey_tiff(
    bits: int, row: bytes, width: int, *, form: int = 1, white_is_zero: bool = False, white: int = 0
) -> bytes:
    tags: list[Tag] = [(256, 4, 1, width), (257, 4, 1, 2), (258, 3, 1, bits), (259, 3, 1, 1),
                       (262, 3, 1, 0 if white_is_zero else 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 2),
                       (279, 4, 1, 2 * len(row)), (339, 3, 1, form)]  # fmt: skip
    return tiff(sorted([*tags, *([(281, 3, 1, white)] if white else [])]), 2 * row)


def packed(values: list[int], bits: int) -> bytes:
    text = "".join(f"{value:0{bits}b}" for value in values)
    return int(text, 2).to_bytes(len(text) // 8, "big")


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_tiff_of_few_bits(bits: int, white_is_zero: bool) -> None:
    values = [i % (1 << bits) for i in range(8)]
    data = grey_tiff(bits, packed(values, bits), 8, white_is_zero=white_is_zero)
    expected = np.array(values) * 255 // ((1 << bits) - 1)
    found = decode(data, Preprocess(height=2, width=8))[0, :, 0]
    np.testing.assert_array_equal(found, 255 - expected if white_is_zero else expected)


@pytest.mark.parametrize("kind", ["packed", "in 16 bits"])
def test_twelve_bits_are_scaled_by_what_is_declared(kind: str) -> None:
    values = [0, 100, 1000, 2000, 3000, 4000, 4095, 5]
    expected = np.rint(np.array(values) * 255 / 4095)
    if kind == "packed":
        data = grey_tiff(12, packed(values, 12), 8)
    else:
        data = grey_tiff(16, struct.pack("<8H", *values), 8, white=4095)
    np.testing.assert_allclose(decode(data, Preprocess(height=2, width=8))[0, :, 0], expected, atol=1)


def test_floats_and_numbers_of_32_bits() -> None:
    spec = Preprocess(height=2, width=4)
    unit = grey_tiff(32, struct.pack("<4f", 0, 0.25, 0.5, 1), 4, form=3)
    np.testing.assert_allclose(decode(unit, spec)[0, :, 0], [0, 64, 128, 255], atol=1)
    bytewise = grey_tiff(32, struct.pack("<4f", 0, 64, 128, 255), 4, form=3)
    np.testing.assert_array_equal(decode(bytewise, spec)[0, :, 0], [0, 64, 128, 255])
    whole = grey_tiff(32, struct.pack("<4I", 0, 1 << 30, 1 << 31, (1 << 32) - 1), 4)
    np.testing.assert_array_equal(decode(whole, spec)[0, :, 0], [0, 64, 128, 255])
    for data in (
        grey_tiff(32, struct.pack("<4f", -5, 0, 70_000, 1), 4, form=3),
        grey_tiff(16, struct.pack("<4h", -5, 0, 5, 1), 4, form=2),
    ):
        with pytest.raises(DecodeError) as caught:
            decode(data, spec)
        assert caught.value.kind == "unsupported"


MASKS = [
    (16, (0xF800, 0x7E0, 0x1F)),
    (16, (0x7C00, 0x3E0, 0x1F)),
    (16, (0x1F, 0x7E0, 0xF800)),
    (16, (0xF00, 0xF0, 0xF)),
    (32, (0xFF0000, 0xFF00, 0xFF)),
    (32, (0xFF, 0xFF00, 0xFF0000)),
    (32, (0xFF000000, 0xFF0000, 0xFF00)),
    (32, (0x3FF00000, 0xFFC00, 0x3FF)),
]


def bmp_of_masks(bits: int, masks: tuple[int, int, int], rows: list[list[tuple[int, int, int]]], head: int) -> bytes:
    body = b""
    for row in reversed(rows):
        pixels = b"".join(
            sum((level * (m // (m & -m)) // 255) * (m & -m) for level, m in zip(pixel, masks, strict=True)).to_bytes(
                bits // 8, "little"
            )
            for pixel in row
        )
        body += pixels.ljust(-(-len(pixels) // 4) * 4, b"\0")
    info = struct.pack("<IiiHHIIiiII", head, len(rows[0]), len(rows), 1, bits, 3, len(body), 0, 0, 0, 0)
    info += struct.pack("<3I", *masks) + bytes(max(0, head - 52))
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


@pytest.mark.parametrize("head", [40, 108])
@pytest.mark.parametrize(("bits", "masks"), MASKS)
def test_bmp_masks_of_any_order_and_width(bits: int, masks: tuple[int, int, int], head: int) -> None:
    rows = [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(255, 255, 255), (0, 0, 0), (255, 0, 255)]]
    found = decode(bmp_of_masks(bits, masks, rows, head), Preprocess(height=2, width=3))
    np.testing.assert_array_equal(found, rows)


def test_bmp_masks_that_are_none_are_refused() -> None:
    for masks in ((0xFF, 0xFF, 0xFF00), (0, 0xFF00, 0xFF), (0xF0F, 0xF0, 0xF000)):
        with pytest.raises(DecodeError, match="mask"):
            decode(broken_masks(masks), Preprocess(height=1, width=1))


def broken_masks(masks: tuple[int, int, int]) -> bytes:
    good = bmp_of_masks(32, (0xFF0000, 0xFF00, 0xFF), [[(1, 2, 3)]], 40)
    return good[:54] + struct.pack("<3I", *masks) + good[66:]


def test_exif_behind_the_pixels_of_a_png_turns_it() -> None:
    exif = Image.Exif()
    exif[274] = 6
    rows = b"".join(b"\0" + bytes([10 * y, 0, 0] * 3) for y in range(2))
    data = png(3, 2, 8, 2, [png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"eXIf", exif.tobytes()[6:])])
    assert read_header(data).orientation == 6
    assert decode(data, Preprocess(height=3, width=2))[0, :, 0].tolist() == [10, 0]


@pytest.mark.parametrize(
    ("screen", "frame", "background", "expected"),
    [
        ((4, 2), (1, 0, 2, 2), 1, ["g", "r", "r", "g"]),
        ((4, 2), (1, 0, 2, 2), 9, ["r", "r", "r", "r"]),
        ((2, 2), (1, 0, 2, 2), 1, ["g", "r", "r"]),
    ],
    ids=["within", "background outside the palette", "beyond the canvas"],
)
def test_the_first_frame_of_a_gif_on_its_canvas(
    screen: tuple[int, int], frame: tuple[int, int, int, int], background: int, expected: list[str]
) -> None:
    data = gif(*screen, frame, gif_pixels(4), background=background)
    colours = {"r": [255, 0, 0], "g": [0, 255, 0]}
    found = decode(data, Preprocess(height=2, width=len(expected)))
    assert found[0].tolist() == [colours[name] for name in expected]


@pytest.mark.parametrize("bitmap_format", ["png", "bmp"])
def test_the_largest_image_of_an_icon(bitmap_format: str) -> None:
    picture = smooth(64, 64)
    data = encoded(picture, "ICO", sizes=[(16, 16), (64, 64)], bitmap_format=bitmap_format)
    np.testing.assert_array_equal(decoded(data, rgb(picture)), rgb(picture))


def test_a_large_grey_image_is_grey_in_colour() -> None:
    data = flat_png(2_000, 8, 0)
    assert not decode(data, Preprocess(height=8, width=8)).any()
    levels = np.random.default_rng(1).integers(0, 256, (1_200, 1_000), dtype=np.uint8)
    for kind in ("PNG", "TIFF", "PPM"):
        data = encoded(Image.fromarray(levels), kind)
        colour = decode(data, Preprocess(height=100, width=100))
        grey = decode(data, Preprocess(height=100, width=100, colour=Colour.GREY))
        np.testing.assert_array_equal(colour, grey.repeat(3, 2))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x00\x00\x00\x18ftypcrx " + bytes(64), "CR3"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(64), "RAF"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(4) + struct.pack("<H", 0) + bytes(4), "CR2"),
        (tiff([(254, 4, 1, 1), (256, 4, 1, 9), (257, 4, 1, 9), (330, 4, 1, 8)], bytes(8)), "NEF, ARW"),
        (tiff([(256, 4, 1, 9), (257, 4, 1, 9), (50706, 1, 4, 0x0401)], bytes(8)), "DNG"),
    ],
)
def test_a_raw_file_is_named(data: bytes, name: str) -> None:
    with pytest.raises(DecodeError, match=f"a camera's RAW file .{name}") as caught:
        decode(data, Preprocess(height=8, width=8))
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize(
    ("kind", "module", "words"),
    [
        ("JPEG2000", "PIL.Jpeg2KImagePlugin", r"JPEG 2000; pip install \"toolkit-images\[formats\]\""),
        ("TIFF", "PIL.TiffImagePlugin", r"this kind of TIFF; pip install \"toolkit-images\[formats\]\""),
        ("HEIF", "pi_heif", r"HEIF; pip install \"toolkit-images\[heic\]\""),
    ],
)
def test_without_the_extra_its_name_is_in_the_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, module: str, words: str
) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    data = encoded(smooth(), kind, **({"compression": "lzma"} if kind == "TIFF" else {}))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DecodeError, match=words):
        decode(data, Preprocess(height=8, width=8))
