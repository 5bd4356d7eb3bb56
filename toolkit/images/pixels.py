"""Bytes and their header -> all pixels of the first frame, upright, at the codec's own size.

OpenCV decodes. Where it would unpack more than the first frame, or read it wrongly, it is given a file of just that
frame, made of the same bytes; what it cannot read at all goes to the second decoder.
"""

from __future__ import annotations

import os
from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from toolkit.core.text import first_line
from toolkit.images import second_decoder
from toolkit.images.formats import bitmap, gif, others, png, tiff, webp
from toolkit.images.formats.common import DecodeError, Header
from toolkit.images.header import FORMATS, ends_early, read_header
from toolkit.images.limits import SMALL_PIXELS, decodes_in_place
from toolkit.images.native_messages import unheard
from toolkit.images.spec import Colour

# What a codec has to say becomes a DecodeError; OpenCV would print it as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Image = npt.NDArray[np.uint8]

_IGNORE: Final = cv2.IMREAD_IGNORE_ORIENTATION
_GREY_FLAGS: Final = {
    1: cv2.IMREAD_GRAYSCALE | _IGNORE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | _IGNORE,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | _IGNORE,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | _IGNORE,
}
"""imdecode flags by reduction; only a JPEG is reduced while it is decoded."""
_RGB_FLAGS: Final = {p: cv2.IMREAD_COLOR_RGB | (flags if p > 1 else _IGNORE) for p, flags in _GREY_FLAGS.items()}

_PLAIN_FLAGS: Final = (_RGB_FLAGS[1], _GREY_FLAGS[1])

_FLIPS: Final = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""EXIF orientation -> how `cv2.flip` mirrors, after what 5 and more transpose (EXIF 2.32, tag 0x0112)."""


def _flags(colour: Colour, reduction: int = 1) -> int:
    return (_RGB_FLAGS if colour is Colour.RGB else _GREY_FLAGS)[reduction]


def decode_pixels(data: bytes, header: Header, colour: Colour, reduction: int) -> Image:
    """All pixels, upright, reduced by `reduction`: (h, w, 3) RGB or (h, w) grey; a large grey image is always grey.

    Raises:
        DecodeError: they cannot be decoded.
    """
    if header.format == "jpeg":
        pixels = _imdecode(data, header, _flags(colour, reduction))
        return _upright(pixels, header.orientation) if header.orientation > 1 else pixels
    if header.format == "ico":
        image = others.ico_image(data)
        inner = read_header(image)
        return decode_pixels(image, inner._replace(second_decoder=header.second_decoder), colour, reduction)
    # A large grey file takes a third of the memory in grey, and the reduced pixels are the same.
    wanted = Colour.GREY if header.samples == 1 and header.pixels > SMALL_PIXELS else colour
    pixels = _full(data, header, wanted)
    if reduction > 1:
        pixels = area_reduced(pixels, reduction)
    if header.orientation == 1 or header.format in ("tiff", "heif"):
        return pixels
    return _upright(pixels, header.orientation)


def _full(data: bytes, header: Header, colour: Colour) -> Image:
    """All pixels: TIFF and HEIF upright (OpenCV turns a TIFF even where it is told not to), the others as stored."""
    if header.second_decoder or header.format in second_decoder.FORMATS:
        return second_decoder.decode(data, header, colour)
    return _READERS.get(header.format, _plain)(data, header, colour)


def _plain(data: bytes, header: Header, colour: Colour) -> Image:
    return _imdecode(data, header, _flags(colour))


def _png(data: bytes, header: Header, colour: Colour) -> Image:
    return _plain(png.still(data) if header.more else data, header, colour)


def _gif(data: bytes, header: Header, colour: Colour) -> Image:
    frame = gif.first_frame(data)
    size = header._replace(width=frame.width, height=frame.height)
    pixels = _plain(gif.still(data, frame), size, colour)
    if (frame.width, frame.height) == (header.width, header.height):
        return pixels
    pixel = np.array([[gif.background(data)]], np.uint8)
    fill = pixel[0, 0] if colour is Colour.RGB else as_image(cv2.cvtColor(pixel, cv2.COLOR_RGB2GRAY))[0, 0]
    canvas = np.full((header.height, header.width, *fill.shape), fill, np.uint8)
    return _placed(pixels, canvas, frame.left, frame.top)


def _webp(data: bytes, header: Header, colour: Colour) -> Image:
    frame = webp.first_frame(data)
    if frame is None:
        return _plain(data, header, colour)
    pixels = _plain(frame.file, header._replace(width=frame.width, height=frame.height), colour)
    if (frame.width, frame.height) == (header.width, header.height):
        return pixels
    canvas = np.zeros((header.height, header.width, *pixels.shape[2:]), np.uint8)
    return _placed(pixels, canvas, frame.left, frame.top)


def _placed(pixels: Image, canvas: Image, left: int, top: int) -> Image:
    height, width = canvas.shape[0] - top, canvas.shape[1] - left
    if height > 0 and width > 0:
        seen = pixels[:height, :width]
        canvas[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return canvas


def _bmp(data: bytes, header: Header, colour: Colour) -> Image:
    """OpenCV takes every mask for the usual one."""
    masks = bitmap.bmp_masks(data)
    if masks is None:
        return _plain(data, header, colour)
    bits, *rgb = masks
    step = -(-header.width * bits // 32) * 4
    start = int.from_bytes(data[10:14], "little")
    if start + step * header.height > len(data):
        raise DecodeError("truncated", f"truncated: the BMP ends after {len(data):,} bytes, before its image does")
    rows = np.frombuffer(data, np.uint8, step * header.height, start).reshape(header.height, step)
    values = rows[:, : header.width * bits // 8].view("<u2" if bits == 16 else "<u4")
    if int.from_bytes(data[22:26], "little", signed=True) > 0:
        values = values[::-1]
    pixels = np.empty((header.height, header.width, 3), np.uint8)
    for channel, mask in enumerate(rgb):
        white = mask // (mask & -mask)
        for y in range(0, header.height, 256):  # in strips, so that nothing wide is held
            levels = ((values[y : y + 256] & mask) // (mask & -mask)).astype(np.float32)
            pixels[y : y + 256, :, channel] = np.rint(levels * np.float32(255 / white))
    return pixels if colour is Colour.RGB else as_image(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def _tiff(data: bytes, header: Header, colour: Colour) -> Image:
    white = tiff.declared_white(data) if header.bits == 16 else None
    data = tiff.without_premultiplication(data)
    if white is None:
        return _plain(data, header, colour)
    deep = _imdecode(data, header, _flags(colour) | cv2.IMREAD_ANYDEPTH)
    return as_image(cv2.convertScaleAbs(deep, alpha=255 / white))


def _avif(data: bytes, header: Header, colour: Colour) -> Image:
    if data[8:12] == b"avis":  # else it would take the first frame of a track, of any size, not the image itself
        data = data[:8] + b"avif" + data[12:]
    if colour is Colour.GREY:
        return _plain(data, header, colour)
    # OpenCV hands out an AVIF with alpha in BGR order even where RGB is asked for.
    pixels = _imdecode(data, header, cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 2:
        return as_image(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
    if pixels.dtype != np.uint8:
        return _plain(data, header, colour)
    return as_image(np.ascontiguousarray(pixels[:, :, 2::-1]))


_READERS: Final = {"png": _png, "gif": _gif, "webp": _webp, "bmp": _bmp, "tiff": _tiff, "avif": _avif}


def _imdecode(data: bytes, header: Header, flags: int) -> Image:
    try:
        if unheard.inside:  # in a pipeline
            pixels = _opencv(data, header, flags)
        else:
            with unheard:
                pixels = _opencv(data, header, flags)
    except cv2.error as error:
        name = FORMATS.get(header.format, header.format.upper())
        if error.code == cv2.Error.StsNoMem:
            raise DecodeError("too_large", f"too large for the memory that was free: the {name}") from None
        raise DecodeError("damaged", f"damaged: the {name} cannot be decoded ({first_line(error.err)})") from None
    if pixels is not None:
        return as_image(pixels)
    name = FORMATS.get(header.format, header.format.upper())
    if ends_early(data, header.format):
        raise DecodeError("truncated", f"truncated: the {name} ends after {len(data):,} bytes, before its image does")
    raise DecodeError("damaged", f"damaged, or of a kind that is not supported: the {name} cannot be decoded")


def _opencv(data: bytes, header: Header, flags: int) -> object:
    if header.pixels > SMALL_PIXELS and decodes_in_place(header, len(data)) and flags in _PLAIN_FLAGS:
        return _decoded_in_place(data, header, flags)
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def _decoded_in_place(data: bytes, header: Header, flags: int) -> object:
    """As `cv2.imdecode`, which in Python holds the pixels twice for a moment; `cv2.imread` does not."""
    shape = (header.height, header.width, 3) if flags == _RGB_FLAGS[1] else (header.height, header.width)
    with open(os.memfd_create("image"), "wb") as file:  # noqa: PTH123 - a file in memory has no path
        file.write(data)
        file.flush()
        pixels = np.empty(shape, np.uint8)
        # Where it does not like the header, it hands out the array as it was.
        untouched = pixels.reshape(-1)[:32] = np.frombuffer(os.urandom(32), np.uint8)
        found = cv2.imread(f"/proc/self/fd/{file.fileno()}", pixels, flags)
        return None if np.array_equal(pixels.reshape(-1)[:32], untouched) else found


def as_image(pixels: object) -> Image:
    """What OpenCV gives, as the type that it has."""
    return cast(Image, pixels)


def area_reduced(pixels: Image, reduction: int) -> Image:
    """Area averaging by `reduction`, sizes rounded up as a JPEG decoder rounds them."""
    if reduction == 1:
        return pixels
    height, width = pixels.shape[:2]
    size = (-(-width // reduction), -(-height // reduction))
    return as_image(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _upright(pixels: Image, orientation: int) -> Image:
    """Apply EXIF orientation 2..8."""
    if orientation >= 5:
        pixels = as_image(cv2.transpose(pixels))
    flip = _FLIPS.get(orientation)
    return pixels if flip is None else as_image(cv2.flip(pixels, flip))
