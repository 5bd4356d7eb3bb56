"""The second decoder, for what OpenCV does not read: Pillow (extra `formats`) and libheif (extra `heic`).

The rules are those of the one decoder: first frame, alpha dropped, more than 8 bits scaled down, upright.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from toolkit.core.text import first_line
from toolkit.images.formats import others, tiff
from toolkit.images.formats.common import DecodeError, Header
from toolkit.images.header import FORMATS as NAMES
from toolkit.images.native_messages import unheard
from toolkit.images.spec import Colour

Image = npt.NDArray[np.uint8]
Result = TypeVar("Result")

SLACK_PIXELS: Final = 1 << 16
"""By which a HEIF may be larger than its header says: whole blocks of a codec."""

_PLUGINS: Final = {
    "jpeg2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "psd": ("PIL.PsdImagePlugin", "PsdImageFile"),
    "qoi": ("PIL.QoiImagePlugin", "QoiImageFile"),
    "tga": ("PIL.TgaImagePlugin", "TgaImageFile"),
    "jpegxl": ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile"),
    "tiff": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "png": ("PIL.PngImagePlugin", "PngImageFile"),
}
"""Format -> the one class of Pillow that reads it; `Image.open` would try many, some of which start programs."""

FORMATS: Final = frozenset(("jpeg2000", "psd", "qoi", "tga", "jpegxl", "heif"))
"""Formats that OpenCV is never asked for."""

MORE_KINDS: Final = frozenset(("tiff", "bmp", "png", "ico"))
"""Formats of which Pillow reads kinds that OpenCV does not."""


def decode(data: bytes, header: Header, colour: Colour) -> Image:
    """All pixels of the first frame: (h, w, 3) RGB or (h, w) grey; TIFF and HEIF upright, the others as stored.

    Raises:
        DecodeError: the extra is not installed, or the file is damaged or of a kind that is not supported.
    """
    try:
        with unheard:
            pixels = _heif(data, header) if header.format == "heif" else _pillow(data, header)
    except DecodeError:
        raise
    except ImportError:
        raise _missing(header) from None
    except Exception as error:  # Pillow's plugins raise whatever their parsing raises
        raise DecodeError("damaged", f"damaged: the {_name(header)} cannot be decoded ({first_line(error)})") from None
    if pixels.ndim == 3 and colour is Colour.GREY:
        return cast(Image, cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    if pixels.ndim == 2 and colour is Colour.RGB:
        return cast(Image, cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
    return pixels


def second_try(decoded: Callable[[Header], Result], header: Header, error: DecodeError) -> Result:
    """`decoded` by the second decoder, where OpenCV has refused a file with `error` and Pillow reads more kinds of it.

    It is admitted anew, since it takes more memory.

    Raises:
        DecodeError: `error`, or that the extra is not installed.
    """
    if error.kind != "damaged" or header.format not in MORE_KINDS or header.second_decoder:
        raise error
    try:
        return decoded(header._replace(second_decoder=True))
    except DecodeError as second:
        raise (second if second.kind == "unsupported" else error) from None


def _missing(header: Header) -> DecodeError:
    extra = "heic" if header.format == "heif" else "formats"
    kind = f"this kind of {_name(header)}" if header.format in MORE_KINDS else f"{_name(header)}"
    return DecodeError("unsupported", f'not supported here: {kind}; pip install "toolkit-images[{extra}]" reads it')


def _name(header: Header) -> str:
    return NAMES.get(header.format, header.format.upper())


def _pillow(data: bytes, header: Header) -> Image:
    module, name = _PLUGINS[header.format]
    warnings.filterwarnings("ignore", module=r"PIL\.")
    plugin = import_module(module)
    if header.format == "jpegxl":
        vars(plugin)["DECODE_THREADS"] = 0  # none beside the one that calls
        data = others.jpegxl_stream(data)
    image = getattr(plugin, name)(io.BytesIO(data))
    expected = header.upright_size[::-1] if header.format == "tiff" else (header.width, header.height)
    if image.size != expected:  # Pillow turns a TIFF upright itself
        raise DecodeError("damaged", f"damaged: the {_name(header)} holds an image of another size than it says")
    image.load()
    return _eight_bits(image, data, header)


def _eight_bits(image: Any, data: bytes, header: Header) -> Image:
    """Pixels of any mode as uint8, (h, w, 3) or (h, w)."""
    if image.mode.startswith("I;16"):
        white = (tiff.declared_white(data) if header.format == "tiff" else None) or (1 << max(9, header.bits)) - 1
        return _scaled(np.asarray(image).astype(np.float32), 0, white)
    if image.mode == "I":
        values = np.asarray(image)
        if header.bits == 32:
            return cast(Image, (values.view(np.uint32) >> 24).astype(np.uint8))
        return _scaled(values.astype(np.float32), 0, (1 << header.bits) - 1)
    if image.mode == "F":
        return _floats(np.asarray(image), data)
    grey = image.mode in ("1", "L", "LA", "La")
    return np.asarray(image.convert("L" if grey else "RGB"))


def _floats(values: npt.NDArray[np.float32], data: bytes) -> Image:
    """Floats by the range that the file declares, else 0..1 or 0..255, whichever holds them all."""
    found = tiff.declared_range(data)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if found is None and low >= 0 and high <= 255:
        found = (0.0, 1.0 if high <= 1 else 255.0)
    if found is None or not np.isfinite(values).all():
        raise DecodeError(
            "unsupported", f"not supported: a TIFF of floats from {low:g} to {high:g} that does not declare its range"
        )
    return _scaled(values, *found)


def _scaled(values: npt.NDArray[np.float32], low: float, high: float) -> Image:
    levels = np.clip(np.rint((values - np.float32(low)) * np.float32(255 / (high - low))), 0, 255)
    return cast(Image, levels.astype(np.uint8))


def _heif(data: bytes, header: Header) -> Image:
    import pi_heif

    pi_heif.options.DECODE_THREADS = 1
    image = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
    if image.size[0] * image.size[1] > header.pixels + SLACK_PIXELS:
        raise DecodeError("damaged", "damaged: the HEIF holds an image of another size than it says")
    pixels: Image = np.asarray(image)  # a view of memory that ends with `image`
    return pixels[..., :3].copy() if pixels.ndim == 3 else pixels.copy()
