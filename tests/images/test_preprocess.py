"""The decoder against Pillow and a plain numpy reference, on real images and on planted faults."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from toolkit.images.decode import DecodeError, decode, fit, verify
from toolkit.images.limits import Limits
from toolkit.images.spec import Colour, Preprocess, Resize

Variant = tuple[str, dict[str, object]]
LOSSLESS: list[Variant] = [
    ("PNG", {}),
    ("BMP", {}),
    ("GIF", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("PPM", {}),
]
LOSSY: list[Variant] = [
    ("JPEG", {"quality": 95}),
    ("JPEG", {"quality": 95, "progressive": True}),
    ("WEBP", {"quality": 95}),
    ("AVIF", {"quality": 95}),
]
ORIENTABLE: list[Variant] = [
    ("JPEG", {"quality": 95, "subsampling": 0}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("AVIF", {"quality": 99}),
]


@pytest.fixture(scope="module")
def photo(pet_images: Path) -> Image.Image:
    """A real photo, 499x375."""
    return Image.open(pet_images / "Dog" / "0.jpg").convert("RGB").crop((0, 0, 321, 241))


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def native(picture: Image.Image, **options: object) -> Preprocess:
    """The spec under which nothing is resized."""
    return Preprocess(height=picture.height, width=picture.width, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_a_lossless_file_keeps_every_pixel(photo: Image.Image, kind: str, options: dict[str, object]) -> None:
    data = encoded(photo, kind, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    found = decode(data, native(photo))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("kind", "options"), LOSSY)
def test_a_lossy_file_looks_the_same_as_elsewhere(photo: Image.Image, kind: str, options: dict[str, object]) -> None:
    data = encoded(photo, kind, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    # Decoders differ in chroma upsampling and rounding by a few levels.
    assert np.abs(decode(data, native(photo)) - expected).mean() < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), ORIENTABLE)
def test_orientation_is_applied(photo: Image.Image, kind: str, options: dict[str, object], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(photo, kind, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    found = decode(data, native(upright))
    assert np.abs(found - np.asarray(upright).astype(int)).mean() < 1.5
    grey = decode(data, native(upright, colour=Colour.GREY))
    assert np.abs(grey[:, :, 0] - np.asarray(upright.convert("L")).astype(int)).mean() < 1.5


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_alpha_is_dropped_and_colours_stay(photo: Image.Image, kind: str) -> None:
    see_through = photo.copy()
    see_through.putalpha(60)
    data = encoded(see_through, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.abs(decode(data, native(photo)) - np.asarray(photo).astype(int)).mean() < 4


def test_sixteen_bits_cmyk_palette_and_bilevel(photo: Image.Image) -> None:
    grey = np.asarray(photo.convert("L"))
    sixteen = encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    np.testing.assert_array_equal(decode(sixteen, native(photo, colour=Colour.GREY))[:, :, 0], grey)
    for picture, kind in ((photo.convert("CMYK"), "JPEG"), (photo.convert("P"), "PNG"), (photo.convert("1"), "PNG")):
        data = encoded(picture, kind)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert np.abs(decode(data, native(photo)) - expected).mean() < 2, picture.mode


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data, Preprocess(height=16, width=16)) == (255, 0, 0)).all()


@settings(deadline=None, max_examples=120)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    target=st.tuples(st.integers(1, 48), st.integers(1, 48)),
    resize=st.sampled_from(Resize),
)
def test_every_policy_puts_each_point_where_it_belongs(
    height: int, width: int, target: tuple[int, int], resize: Resize
) -> None:
    """Red grows downwards, green to the right: averaging and bilinear sampling keep a ramp, so that the value of a
    pixel says which point of the original it shows."""
    slope = 180 / (height + width)
    down, right = np.mgrid[:height, :width]
    ramps = np.stack([20 + slope * down, 20 + slope * right, np.full((height, width), 77.0)], axis=2)
    spec = Preprocess(height=target[0], width=target[1], resize=resize)
    found = decode(encoded(Image.fromarray(ramps.round().astype(np.uint8)), "PNG"), spec).astype(float)
    assert found.shape == spec.shape
    used, content = (float(height), float(width)), target
    if resize is Resize.CROP:
        used = (min(height, width * target[0] / target[1]), min(width, height * target[1] / target[0]))
    elif resize is Resize.PAD:
        scale = min(target[0] / height, target[1] / width)
        content = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (target[0] - content[0]) // 2, (target[1] - content[1]) // 2
    shown = found[top : top + content[0], left : left + content[1]]
    outside = found.copy()
    outside[top : top + content[0], left : left + content[1]] = 0
    assert not outside.any()
    assert np.abs(shown[..., 2] - 77).max() <= 1
    # Where a side is cut, that happens at whole pixels after a reduction by at most the steps between two samples.
    for axis, (size, part, n) in enumerate(zip((height, width), used, content, strict=True)):
        step = part / n
        points = (size - part) / 2 + (np.arange(n) + 0.5) * step - 0.5
        values = shown[..., axis].mean(axis=1 - axis)
        tolerance = slope * (step + 1) + 1.5
        assert np.abs(values - (20 + slope * np.clip(points, 0, size - 1))).max() <= tolerance


@pytest.mark.parametrize("p", [2, 4, 8])
@pytest.mark.parametrize("resize", Resize)
def test_a_whole_reduction_is_the_mean_of_its_pixels(photo: Image.Image, p: int, resize: Resize) -> None:
    """Against Pillow's own reduction."""
    height, width = photo.height // p, photo.width // p
    cut = photo.crop((0, 0, width * p, height * p))
    found = decode(encoded(cut, "PNG"), Preprocess(height=height, width=width, resize=resize))
    assert np.abs(found.astype(int) - np.asarray(cut.reduce(p)).astype(int)).max() <= 1


def test_a_large_jpeg_is_reduced_while_decoding_and_looks_like_area_averaging(photo: Image.Image) -> None:
    large = photo.resize((1280, 960), Image.Resampling.BICUBIC)
    spec = Preprocess(height=150, width=150)
    averaged = decode(encoded(large, "PNG"), spec).astype(int)
    reduced = decode(encoded(large, "JPEG", quality=95), spec)
    assert np.abs(reduced - averaged).mean() < 1.5


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS, *LOSSY])
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_a_truncated_file_is_an_error(photo: Image.Image, kind: str, options: dict[str, object], kept: float) -> None:
    data = encoded(photo, kind, **options)
    cut = data[: int(len(data) * kept)]
    with pytest.raises(DecodeError) as caught:
        decode(cut, Preprocess(height=28, width=28))
    # These three have no end mark: what is cut off cannot be told from what is damaged.
    assert caught.value.kind == "truncated" or kind in ("TIFF", "PPM", "AVIF")
    with pytest.raises(DecodeError):
        verify(cut)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "empty", "0 bytes"),
        (b"<!DOCTYPE html><html></html>", "not_an_image", "an HTML page"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "not_an_image", "Thumbs.db"),
        (b"%PDF-1.7", "not_an_image", "PDF"),
        (b"hello, world", "not_an_image", "text"),
        (bytes(100), "not_an_image", "zero bytes"),
        (b"\x00\x01\x02\x03garbage", "not_an_image", "00 01 02 03"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated", "header"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "truncated", "header"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(64), "truncated", "HEIF"),
    ],
)
def test_what_is_no_image_says_what_it_is(data: bytes, kind: str, words: str) -> None:
    with pytest.raises(DecodeError, match=words) as caught:
        decode(data, Preprocess(height=8, width=8))
    assert caught.value.kind == kind


def test_a_bomb_is_refused_from_its_header() -> None:
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    with pytest.raises(DecodeError, match="60000x60000 is more than 200,000,000 pixels") as caught:
        decode(header + bytes(100), Preprocess(height=8, width=8))
    assert caught.value.kind == "too_large"


def test_a_crop_of_a_very_long_image_needs_little_memory() -> None:
    data = encoded(Image.new("L", (60_000, 2)), "PNG")
    spec = Preprocess(height=224, width=224, resize=Resize.CROP)
    assert decode(data, spec).shape == (224, 224, 3)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_bytes_decode_or_raise_decode_error(drawn: st.DataObject) -> None:
    kind, options = drawn.draw(st.sampled_from([*LOSSLESS, *LOSSY]))
    picture = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    data = bytearray(encoded(picture, kind, **options))
    for _ in range(drawn.draw(st.integers(1, 8))):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        assert decode(bytes(data), Preprocess(height=16, width=16), limits=Limits(max_pixels=10**6)).shape == (
            16,
            16,
            3,
        )


def test_the_faults_planted_in_pet_images(pet_images: Path) -> None:
    faults = {
        "Cat/666.jpg": "empty",
        "Dog/11702.jpg": "empty",
        "Cat/10404.jpg": "truncated",
        "Dog/9500.jpg": "not_an_image",
        "Cat/Thumbs.db": "not_an_image",
    }
    for name, kind in faults.items():
        with pytest.raises(DecodeError) as caught:
            verify((pet_images / name).read_bytes())
        assert caught.value.kind == kind, name
    assert verify((pet_images / "Cat/10501.jpg").read_bytes()).format == "png"
    assert verify((pet_images / "Dog/10797.jpg").read_bytes()).format == "bmp"


@pytest.mark.parametrize("size", [(0, 8), (8, 20_000)])
def test_an_impossible_target_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="each side must be"):
        Preprocess(height=size[0], width=size[1])


@pytest.mark.parametrize("resize", Resize)
@pytest.mark.parametrize("colour", Colour)
def test_an_array_is_fitted_as_its_file_is(photo: Image.Image, resize: Resize, colour: Colour) -> None:
    spec = Preprocess(height=40, width=64, resize=resize, colour=colour)
    found = fit(np.asarray(photo), spec).astype(int)
    # libpng turns RGB to grey with coarser weights than OpenCV, two levels at most.
    assert np.abs(found - decode(encoded(photo, "PNG"), spec)).max() <= (2 if colour is Colour.GREY else 0)


def test_an_array_that_is_no_image_is_refused() -> None:
    spec = Preprocess(height=8, width=8)
    for array in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(DecodeError, match="expected uint8"):
            fit(cast(Any, array), spec)
    with pytest.raises(DecodeError, match="empty"):
        fit(np.zeros((0, 4, 3), np.uint8), spec)
    assert fit(np.full((4, 4), 7, np.uint8), spec).shape == (8, 8, 3)
