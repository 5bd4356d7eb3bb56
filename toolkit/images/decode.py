"""Bytes -> pixels: the one decoder. Nothing else in this project calls an image decoder.

Training, calibration, verification, evaluation and inference all read images through `decode`, so that a network
sees at the edge what it saw in training.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Final

import cv2
import numpy as np

from toolkit.images.header import DecodeError, Header, read_header
from toolkit.images.limits import DEFAULT_LIMITS, Limits
from toolkit.images.pixels import Image, area_reduced, as_image, decode_pixels
from toolkit.images.second_decoder import second_try
from toolkit.images.spec import Colour, Preprocess, Resize

__all__ = [
    "DEFAULT_LIMITS",
    "Box",
    "DecodeError",
    "Image",
    "decode",
    "encode_png",
    "fit",
    "verify",
]

_TOUCH: Final = 1e-3
"""A box that reaches less than this into a pixel does not touch it: boxes are given with few decimals."""


Box = tuple[float, float, float, float]
"""A part of an upright image: left, top, width and height as shares of its width and height, 0..1."""


def decode(data: bytes, spec: Preprocess, *, limits: Limits = DEFAULT_LIMITS, box: Box | None = None) -> Image:
    """Decode the bytes of one image file to what a network with `spec` is fed.

    EXIF orientation is applied, alpha dropped, CMYK converted, 16 bits scaled down, the first frame of an animation
    taken. The image is first reduced by the largest p of 1, 2, 4, 8 for which both sides divided by p still cover
    the target (a JPEG in the DCT domain while it is decoded, every other format by area averaging), then resized
    bilinearly with half-pixel centres.

    Args:
        data: the whole file.
        spec: target size, colour and resize policy.
        limits: how large an image may be, and what decoding it may cost; it waits until there is memory.
        box: only this part of the image, as if it were a file of its own; None is all of it. What lies outside of the
            image is left out; at least one pixel is taken.

    Returns:
        uint8 (H, W, C), values 0..255, RGB (C=3) or grey (C=1), C-contiguous.

    Raises:
        DecodeError: empty, not an image, truncated, damaged, of a kind that is not supported, or over `limits`.
    """
    header = read_header(data, limits.max_pixels)
    try:
        return _decoded(data, header, spec, limits, box)
    except DecodeError as error:
        return second_try(lambda other: _decoded(data, other, spec, limits, box), header, error)


def _decoded(data: bytes, header: Header, spec: Preprocess, limits: Limits, box: Box | None) -> Image:
    size = header.upright_size if box is None else _size(_inside(header.upright_size, box))
    content = _content_size(size, spec)
    reduction = _reduction(_covered(size, spec), content)
    with limits.admit(header, len(data), spec.colour, reduction):
        pixels = decode_pixels(data, header, spec.colour, reduction)
        if box is not None:
            pixels = pixels[_inside((pixels.shape[0], pixels.shape[1]), box)]
        return _fitted(pixels, content, spec)


def _inside(size: tuple[int, int], box: Box) -> tuple[slice, slice]:
    """The rows and columns of an image of `size` (height, width) that `box` touches; at least one of each."""
    left, top, width, height = box
    return _span(top, height, size[0]), _span(left, width, size[1])


def _span(start: float, length: float, n: int) -> slice:
    first = min(max(floor(start * n + _TOUCH), 0), n - 1)
    return slice(first, max(first + 1, min(ceil((start + length) * n - _TOUCH), n)))


def _size(part: tuple[slice, slice]) -> tuple[int, int]:
    return part[0].stop - part[0].start, part[1].stop - part[1].start


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
        pixels = as_image(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    size = (pixels.shape[0], pixels.shape[1])
    content = _content_size(size, spec)
    return _fitted(area_reduced(pixels, _reduction(_covered(size, spec), content)), content, spec)


def _fitted(pixels: Image, content: tuple[int, int], spec: Preprocess) -> Image:
    """Reduced pixels -> the target: cut to the centre for `crop`, bilinear, borders for `pad`."""
    if spec.resize is Resize.CROP:
        pixels = _centre(pixels, spec.height / spec.width, spec.crop_fraction)
    height, width = content
    if pixels.shape[:2] != content:
        pixels = as_image(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR))
    if pixels.ndim == 2 and spec.colour is Colour.RGB:
        pixels = as_image(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
    if content != (spec.height, spec.width):
        top, left = (spec.height - height) // 2, (spec.width - width) // 2
        bottom, right = spec.height - height - top, spec.width - width - left
        pixels = as_image(cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return pixels if pixels.flags.c_contiguous else np.ascontiguousarray(pixels)


def verify(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Decode `data` as cheaply as shows that all of it can be decoded, and return its header.

    Raises:
        DecodeError: as `decode`.
    """
    header = read_header(data, limits.max_pixels)
    reduction = 8 if header.format == "jpeg" else 1

    def decoded(header: Header) -> Header:
        with limits.admit(header, len(data), Colour.GREY, reduction):
            decode_pixels(data, header, Colour.GREY, reduction)
        return header

    try:
        return decoded(header)
    except DecodeError as error:
        return second_try(decoded, header, error)


def _content_size(upright: tuple[int, int], spec: Preprocess) -> tuple[int, int]:
    """(height, width) of the image within the target: all of it but for `pad`."""
    if spec.resize is not Resize.PAD:
        return spec.height, spec.width
    height, width = upright
    scale = min(spec.height / height, spec.width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _covered(upright: tuple[int, int], spec: Preprocess) -> tuple[float, float]:
    """(height, width) of the part of the image that is used: all of it but for `crop`."""
    height, width = upright
    if spec.resize is not Resize.CROP:
        return height, width
    aspect = spec.height / spec.width
    return min(height, width * aspect) * spec.crop_fraction, min(width, height / aspect) * spec.crop_fraction


def _reduction(source: tuple[float, float], target: tuple[int, int]) -> int:
    if source[0] < 2 * target[0] or source[1] < 2 * target[1]:
        return 1
    return next(p for p in (8, 4, 2) if source[0] >= p * target[0] and source[1] >= p * target[1])


def _centre(pixels: Image, aspect: float, fraction: float) -> Image:
    """The largest centred part of `pixels` with height/width = `aspect`, or `fraction` of its sides."""
    height, width = pixels.shape[:2]
    inner_height = max(1, round(fraction * min(height, round(width * aspect))))
    inner_width = max(1, round(fraction * min(width, round(height / aspect))))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return pixels[top : top + inner_height, left : left + inner_width]


def encode_png(image_u8: Image) -> bytes:
    """A decoded image as a PNG file, without loss.

    Args:
        image_u8: uint8 (H, W, C), RGB (C=3) or grey (C=1).
    """
    ordered = image_u8[..., ::-1] if image_u8.shape[2] == 3 else image_u8
    done, content = cv2.imencode(".png", ordered)
    if not done:
        raise ValueError(f"no PNG can be made of an array of shape {image_u8.shape}")
    return content.tobytes()
