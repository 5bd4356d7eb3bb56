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
    crop: the shorter side to the target, then the centre.
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
    """

    height: int
    width: int
    colour: Colour = Colour.RGB
    resize: Resize = Resize.SQUASH

    def __post_init__(self) -> None:
        coerce(self, colour=Colour, resize=Resize)
        if not (1 <= self.height <= 16384 and 1 <= self.width <= 16384):
            raise ValueError(f"image size {self.height}x{self.width}: each side must be 1..16384 pixels")

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey."""
        return 3 if self.colour is Colour.RGB else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one decoded image."""
        return self.height, self.width, self.channels
