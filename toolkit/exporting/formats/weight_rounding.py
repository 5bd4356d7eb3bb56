"""Weights rounded so that the sums they are part of move least, instead of each weight to its nearest step.

Where one weight had to be rounded up, the weights beside it that see the same things are rounded down.
Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", arXiv:2210.17323,
algorithm 1 (the inputs with the largest moments first).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

N_IMAGES: Final = 32
"""Images whose activations say what is seen together."""
WIDEST: Final = 2304
"""Weights in one sum at most; wider layers are rounded as usual, their moments would take too much memory."""
_POSITIONS: Final = 64  # of each image
_DAMPING: Final = 0.01  # share of the mean moment that is added to all, as in the paper

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """What a convolution looks at.

    Attributes:
        kernel, strides, dilations: (vertical, horizontal).
        before: rows of zeros above the image, and columns left of it.
        size: (height, width) of the output.
        groups: of channels.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    size: tuple[int, int]
    groups: int = 1

    def width(self, channels: int) -> int:
        """Weights in one sum, for an input of so many channels."""
        return self.kernel[0] * self.kernel[1] * channels // self.groups


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(zeros before the first pixel, outputs) along one axis, for TensorFlow's padding "SAME".

    >>> same_padding(5, 3, 2, 1), same_padding(6, 3, 2, 1)
    ((1, 3), (0, 3))
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, outputs


def moments(values: npt.NDArray[Any], window: Window, rng: np.random.Generator) -> Array:
    """Second moments of what the weights of one sum see, at some positions of each image: (groups, D, D).

    Args:
        values: the convolution's input (N, H, W, C).
        window: of the convolution; D is `window.width(C)`, in the order (kernel, channels of the group).
        rng: chooses the positions.
    """
    n, height, width, channels = values.shape
    taken = n * _POSITIONS
    image = np.repeat(np.arange(n), _POSITIONS)
    tops, lefts = (
        rng.integers(outputs, size=taken) * stride - before
        for outputs, stride, before in zip(window.size, window.strides, window.before, strict=True)
    )
    seen = np.empty((taken, *window.kernel, channels), np.float32)
    for i, j in np.ndindex(*window.kernel):
        y, x = tops + i * window.dilations[0], lefts + j * window.dilations[1]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        seen[:, i, j] = values[image, y.clip(0, height - 1), x.clip(0, width - 1)] * inside[:, None]
    grouped = seen.reshape(taken, -1, window.groups, channels // window.groups).transpose(2, 0, 1, 3)
    rows = np.ascontiguousarray(grouped).reshape(window.groups, taken, window.width(channels))
    with np.errstate(over="ignore", invalid="ignore"):  # values around 1e20; such a layer is left as it is
        found: Array = (rows.transpose(0, 2, 1) @ rows).astype(np.float64) / taken
    return found


def rounded(weights: Array, scales: Array, moment: Array, limit: int) -> npt.NDArray[np.int8]:
    """Steps of each weight: int8 (groups, O, D), -limit..limit.

    Args:
        weights: (groups, O, D), O of the outputs of one group.
        scales: (groups, O), what one step of an output's weights is worth.
        moment: of what they are multiplied with (groups, D, D); a sum of those of all batches will do.
        limit: the largest number of steps, up to 127.
    """
    depth = weights.shape[2]
    scales = np.where(scales > 0, scales, 1.0)
    places = np.arange(depth)
    diagonal = np.einsum("gdd->gd", moment)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    left = np.take_along_axis(weights.astype(np.float64), order[:, None], axis=2)
    damped = moment + (_DAMPING * diagonal.mean(axis=1) + 1e-12)[:, None, None] * np.eye(depth)
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], axis=1), order[:, None], axis=2)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    steps = np.empty(left.shape, np.int8)
    for at in places:
        chosen = np.clip(np.rint(left[:, :, at] / scales), -limit, limit)
        steps[:, :, at] = chosen
        missed = (left[:, :, at] - chosen * scales) / upper[:, at, at, None]
        left[:, :, at:] -= missed[:, :, None] * upper[:, at, None, at:]
    found = np.empty_like(steps)
    np.put_along_axis(found, np.broadcast_to(order[:, None], steps.shape), steps, axis=2)
    return found
