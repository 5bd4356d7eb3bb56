"""What a network itself takes and gives, before it is wrapped into a file that keeps the contract."""

from __future__ import annotations

from enum import StrEnum


class Values(StrEnum):
    """The values that a network's own first layer wants."""

    BYTES = "0..255"
    UNIT = "0..1"
    SYMMETRIC = "-1..1"


class Output(StrEnum):
    """What a network's own last layer gives."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"


class Channels(StrEnum):
    """The order of a network's colour channels."""

    RGB = "rgb"
    BGR = "bgr"


class TensorLayout(StrEnum):
    """The order of the dimensions of a network's input: batch, channels, height, width; or channels last."""

    NCHW = "nchw"
    NHWC = "nhwc"
