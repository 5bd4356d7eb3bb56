"""Bytes -> pixels: the one decoder. Nothing else in this project calls an image decoder.

Training, calibration, verification, evaluation and inference all read pictures through `decode`, so that a network
sees at the edge what it saw in training.
"""

from __future__ import annotations

from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from toolkit.images.header import MAX_PIXELS, DecodeError, Header, ends_early, read_header, without_premultiplication
from toolkit.images.spec import Colour, Preprocess, Resize

__all__ = [
    "MAX_PIXELS",
    "DecodeError",
    "Image",
    "decode",
    "encode_png",
    "fit",
    "verify",
]

# What a codec has to say becomes a DecodeError; OpenCV would print it as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Image = npt.NDArray[np.uint8]


def decode(data: bytes, spec: Preprocess, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode the bytes of one picture file to what a network with `spec` is fed.

    EXIF orientation is applied, alpha dropped, CMYK converted, 16 bits scaled down, the first frame of an animation
    taken. The picture is first reduced by the largest p of 1, 2, 4, 8 for which both sides divided by p still cover
    the target (a JPEG in the DCT domain while it is decoded, every other format by area averaging), then resized
    bilinearly with half-pixel centres.

    Args:
        data: the whole file.
        spec: target size, colour and resize policy.
        max_pixels: larger pictures are refused from their header.

    Returns:
        uint8 (H, W, C), values 0..255, RGB (C=3) or grey (C=1), C-contiguous.

    Raises:
        DecodeError: empty, not an image, truncated, damaged, or over `max_pixels`.
    """
    header = read_header(data, max_pixels)
    content = _content_size(header.upright_size, spec)
    reduction = _reduction(_covered(header.upright_size, spec), content)
    return _fitted(_decode_pixels(data, header, spec.colour, reduction), content, spec)


def fit(pixels_u8: Image, spec: Preprocess) -> Image:
    """Bring pixels that are already decoded to what a network with `spec` is fed, as `decode` does with a file.

    Args:
        pixels_u8: uint8 (h, w, 3) in RGB order, (h, w, 1) or (h, w) grey, upright.
        spec: target size, colour and resize policy.

    Returns:
        uint8 (H, W, C), as `decode`.

    Raises:
        DecodeError: another dtype or shape, or no pixels.
    """
    if pixels_u8.dtype != np.uint8 or pixels_u8.ndim not in (2, 3) or (*pixels_u8.shape, 1)[2] not in (1, 3):
        found = f"{pixels_u8.dtype} {pixels_u8.shape}"
        raise DecodeError("not_an_image", f"expected uint8 (h, w, 3) in RGB order or (h, w) grey, found {found}")
    if not pixels_u8.size:
        raise DecodeError("empty", f"the array is empty: {pixels_u8.shape}")
    pixels = pixels_u8.reshape(pixels_u8.shape[:2]) if pixels_u8.shape[2:] == (1,) else pixels_u8
    if spec.colour is Colour.GREY and pixels.ndim == 3:
        pixels = _image(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    elif spec.colour is Colour.RGB and pixels.ndim == 2:
        pixels = _image(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
    size = (pixels.shape[0], pixels.shape[1])
    content = _content_size(size, spec)
    return _fitted(_area_reduced(pixels, _reduction(_covered(size, spec), content)), content, spec)


def _fitted(pixels: Image, content: tuple[int, int], spec: Preprocess) -> Image:
    """Reduced pixels -> the target: cut to the centre for `crop`, bilinear, borders for `pad`."""
    if spec.resize is Resize.CROP:
        pixels = _centre(pixels, spec.height / spec.width)
    height, width = content
    if pixels.shape[:2] != content:
        pixels = _image(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR))
    if content != (spec.height, spec.width):
        top, left = (spec.height - height) // 2, (spec.width - width) // 2
        bottom, right = spec.height - height - top, spec.width - width - left
        pixels = _image(cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0))
    return np.ascontiguousarray(pixels).reshape(spec.shape)


def _area_reduced(pixels: Image, reduction: int) -> Image:
    """Area averaging by `reduction`, sizes rounded up as a JPEG decoder rounds them."""
    if reduction == 1:
        return pixels
    height, width = pixels.shape[:2]
    size = (-(-width // reduction), -(-height // reduction))
    return _image(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def verify(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Decode `data` as cheaply as shows that all of it can be decoded, and return its header.

    Raises:
        DecodeError: as `decode`.
    """
    header = read_header(data, max_pixels)
    _decode_pixels(data, header, Colour.GREY, 8 if header.format == "jpeg" else 1)
    return header


def _content_size(upright: tuple[int, int], spec: Preprocess) -> tuple[int, int]:
    """(height, width) of the picture within the target: all of it but for `pad`."""
    if spec.resize is not Resize.PAD:
        return spec.height, spec.width
    height, width = upright
    scale = min(spec.height / height, spec.width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _covered(upright: tuple[int, int], spec: Preprocess) -> tuple[float, float]:
    """(height, width) of the part of the picture that is used: all of it but for `crop`."""
    height, width = upright
    if spec.resize is not Resize.CROP:
        return height, width
    aspect = spec.height / spec.width
    return min(height, width * aspect), min(width, height / aspect)


def _reduction(source: tuple[float, float], target: tuple[int, int]) -> int:
    for p in (8, 4, 2):
        if source[0] >= p * target[0] and source[1] >= p * target[1]:
            return p
    return 1


def _centre(pixels: Image, aspect: float) -> Image:
    """The largest centred part of `pixels` with height/width = `aspect`."""
    height, width = pixels.shape[:2]
    inner_height = max(1, min(height, round(width * aspect)))
    inner_width = max(1, min(width, round(height / aspect)))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return pixels[top : top + inner_height, left : left + inner_width]


_IGNORE: Final = cv2.IMREAD_IGNORE_ORIENTATION
_FLAGS: Final = {
    (Colour.RGB, 1): cv2.IMREAD_COLOR_RGB | _IGNORE,
    (Colour.RGB, 2): cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2 | _IGNORE,
    (Colour.RGB, 4): cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4 | _IGNORE,
    (Colour.RGB, 8): cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8 | _IGNORE,
    (Colour.GREY, 1): cv2.IMREAD_GRAYSCALE | _IGNORE,
    (Colour.GREY, 2): cv2.IMREAD_REDUCED_GRAYSCALE_2 | _IGNORE,
    (Colour.GREY, 4): cv2.IMREAD_REDUCED_GRAYSCALE_4 | _IGNORE,
    (Colour.GREY, 8): cv2.IMREAD_REDUCED_GRAYSCALE_8 | _IGNORE,
}
"""imdecode flags by colour and reduction; only a JPEG is reduced while it is decoded."""


def _decode_pixels(data: bytes, header: Header, colour: Colour, reduction: int) -> Image:
    """All pixels, upright, reduced by `reduction`: (h, w, 3) RGB or (h, w) grey."""
    if header.format == "jpeg":
        pixels = _imdecode(data, header, _FLAGS[colour, reduction])
    else:
        pixels = _area_reduced(_full(data, header, colour), reduction)
    # OpenCV turns every TIFF upright itself, even where it is told not to.
    return pixels if header.format == "tiff" else _upright(pixels, header.orientation)


def _full(data: bytes, header: Header, colour: Colour) -> Image:
    if header.format == "avif" and colour is Colour.RGB:
        # OpenCV hands out an AVIF with alpha in BGR order even where RGB is asked for.
        pixels = _imdecode(data, header, cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 2:
            return _image(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
        if pixels.dtype != np.uint8:
            return _imdecode(data, header, _FLAGS[colour, 1])
        return _image(np.ascontiguousarray(pixels[:, :, 2::-1]))
    if header.format == "tiff":
        data = without_premultiplication(data)
    return _imdecode(data, header, _FLAGS[colour, 1])


def _imdecode(data: bytes, header: Header, flags: int) -> Image:
    name = header.format.upper()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DecodeError("damaged", f"damaged: the {name} cannot be decoded ({error.err})") from None
    if pixels is None and ends_early(data, header.format):
        raise DecodeError("truncated", f"truncated: the {name} ends after {len(data):,} bytes, before its picture does")
    if pixels is None:
        raise DecodeError("damaged", f"damaged, or of a kind that is not supported: the {name} cannot be decoded")
    return _image(pixels)


def _image(pixels: object) -> Image:
    return cast(Image, pixels)


def _upright(pixels: Image, orientation: int) -> Image:
    """Apply EXIF orientation 1..8 (EXIF 2.32, tag 0x0112)."""
    if orientation >= 5:
        pixels = _image(cv2.transpose(pixels))
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return pixels if flip is None else _image(cv2.flip(pixels, flip))


def encode_png(image_u8: Image) -> bytes:
    """A decoded picture as a PNG file, without loss.

    Args:
        image_u8: uint8 (H, W, C), RGB (C=3) or grey (C=1).
    """
    ordered = image_u8[..., ::-1] if image_u8.shape[2] == 3 else image_u8
    done, content = cv2.imencode(".png", ordered)
    if not done:
        raise ValueError(f"no PNG can be made of an array of shape {image_u8.shape}")
    return content.tobytes()
