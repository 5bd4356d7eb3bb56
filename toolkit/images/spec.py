"""What a network wants to be fed: size, colour and resize policy. Needs no OpenCV, so that what only reads a
contract or a recipe starts at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from toolkit.core.coerce import coerce


class Colour(StrEnum):
    """Colour of the network's input: three channels in RGB order, or one grey channel."""

    RGB = "rgb"
    GREY = "grey"


class Resize(StrEnum):
    """How an image's shape becomes the network's.

    squash: both sides to the target, the aspect changes (what Keras' directory loader does).
    crop: the shorter side to the target, then the centre. With a `crop_fraction` below 1, only that share of it.
    pad: the longer side to the target, then black borders (letterbox).
    """

    SQUASH = "squash"
    CROP = "crop"
    PAD = "pad"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """What a network wants to be fed.

    Attributes:
        height, width: pixels, 1..16384.
        colour: RGB or grey.
        resize: the resize policy.
        crop_fraction: of `crop`, the share of the centre's sides that is used, above 0 and up to 1. timm resizes the
            shorter side to size / fraction and cuts the centre of that size, which is the same part of the image.
    """

    height: int
    width: int
    colour: Colour = Colour.RGB
    resize: Resize = Resize.SQUASH
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        coerce(self, colour=Colour, resize=Resize)
        if not (1 <= self.height <= 16384 and 1 <= self.width <= 16384):
            raise ValueError(f"image size {self.height}x{self.width}: each side must be 1..16384 pixels")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop fraction {self.crop_fraction}: expected a number above 0, up to 1")
        if self.crop_fraction != 1 and self.resize is not Resize.CROP:
            raise ValueError(f"a crop fraction goes with resize crop, not {self.resize}")

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""
        return 3 if self.colour is Colour.RGB else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one decoded image."""
        return self.height, self.width, self.channels
