"""Images of a training: what it saw, what augmentation makes of it, what it answers.

Each figure is one sheet, measured in inches from its upper left corner; a pair of axes per image would take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.plotting.style import DPI, Theme, save_png, short, style

Images = npt.NDArray[np.uint8]

SAMPLES: Final = 25
AUGMENTED: Final = 9
PREDICTIONS: Final = 15
_BARS: Final = 10  # classes that an image's bars show at most
_SIDE: Final = 1.38  # of the square that an image is fitted into
_TITLE: Final = 0.5  # height of the words over the whole


def write_samples(path: Path, images_u8: Images, names: Sequence[str]) -> None:
    """A grid of training images, each under its class.

    Args:
        images_u8: uint8 (n, H, W, C), n <= 25.
        names: class name of each.
    """
    with style() as theme:
        sheet = _Sheet(5 * 1.5 + 0.12, _TITLE + -(-len(names) // 5) * 1.7, theme)
        sheet.title("Training images, as the network is fed")
        for i, (image, name) in enumerate(zip(images_u8, names, strict=True)):
            left, top = 0.12 + i % 5 * 1.5, _TITLE + 0.2 + i // 5 * 1.7
            sheet.image(image, left, top, _narrow(name, 18), theme.text)
        sheet.save(path)


def write_augmented(path: Path, original_u8: Images, augmented: npt.NDArray[np.float32], name: str) -> None:
    """One image and what augmentation makes of it.

    Args:
        original_u8: uint8 (H, W, C).
        augmented: float32 (9, H, W, C), about 0..255.
    """
    images = [original_u8, *np.clip(augmented, 0, 255).astype(np.uint8)]
    with style() as theme:
        sheet = _Sheet(5 * 1.5 + 0.12, _TITLE + 2 * 1.7, theme)
        sheet.title(f"One image ({short(name)}), augmented nine times")
        for i, image in enumerate(images):
            caption = f"augmented {i}" if i else "original"
            sheet.image(image, 0.12 + i % 5 * 1.5, _TITLE + 0.2 + i // 5 * 1.7, caption, theme.muted)
        sheet.save(path)


def write_predictions(
    path: Path,
    images_u8: Images,
    truth: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    labels: Sequence[str],
) -> None:
    """Validation images with the predicted and the true class and the class bars; right in blue, wrong in red.

    Args:
        images_u8: uint8 (n, H, W, C), n <= 15.
        truth: (n,) class indices.
        probabilities: (n, K).
    """
    with style() as theme:
        sheet = _Sheet(3 * 3.4 + 0.12, _TITLE + -(-len(truth) // 3) * 1.85, theme)
        predicted = probabilities.argmax(axis=1)
        right = int((predicted == truth).sum())
        sheet.title(f"Validation images: {right} of {len(truth)} right (blue), the others wrong (red)")
        for i, image in enumerate(images_u8):
            left, top = 0.12 + i % 3 * 3.4, _TITLE + 0.35 + i // 3 * 1.85
            best, true = int(predicted[i]), int(truth[i])
            colour = theme.right if best == true else theme.wrong
            words = f"{_narrow(labels[best], 16)} {probabilities[i, best]:.0%}"
            if best != true:
                words += f"\ntrue: {_narrow(labels[true], 16)}"
            sheet.image(image, left, top, words, colour)
            shown = np.sort(np.argsort(-probabilities[i], kind="stable")[:_BARS])
            colours = [colour if k == best else theme.right if k == true else theme.muted for k in shown]
            names = [_narrow(labels[k], 12) for k in shown]
            sheet.bars(names, probabilities[i, shown], colours, left + _SIDE + 0.1, top)
        sheet.save(path)


class _Sheet:
    def __init__(self, width: float, height: float, theme: Theme) -> None:
        from matplotlib.figure import Figure

        self._figure, self._theme = Figure(figsize=(width, height), dpi=DPI), theme
        self._axes = self._figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()

    def title(self, text: str) -> None:
        self._axes.text(0.12, 0.12, text, va="top", fontsize=12, fontweight="bold")

    def image(self, image_u8: Images, left: float, top: float, caption: str, colour: str) -> None:
        """An image in the square whose upper left corner is given, and its caption above."""
        grey = image_u8.shape[2] == 1
        colours: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if grey else {}
        height, width = (_SIDE * side / max(image_u8.shape[:2]) for side in image_u8.shape[:2])
        self._axes.imshow(
            image_u8[..., 0] if grey else image_u8,
            extent=(left, left + width, top + height, top),
            interpolation="nearest",
            aspect="auto",
            **colours,
        )
        self._axes.text(left, top - 0.04, caption, va="bottom", fontsize=9, color=colour)

    def bars(
        self, names: Sequence[str], values: npt.NDArray[np.float32], colours: Sequence[str], left: float, top: float
    ) -> None:
        """Names and bars (0..1) beside an image, in 1.8 inches from `left` and the height of the image."""
        step = _SIDE / max(len(names), 4)
        middles = top + step * (np.arange(len(names)) + 0.5)
        self._axes.barh(middles, values * 0.75, left=left + 1.0, height=step * 0.7, color=colours)
        for middle, name in zip(middles, names, strict=True):
            size = 7 if len(names) > 5 else 8
            self._axes.text(left + 0.95, middle, name, ha="right", va="center", fontsize=size, color=self._theme.muted)

    def save(self, path: Path) -> None:
        save_png(self._figure, path)


def _narrow(name: str, limit: int) -> str:
    """`short`, with fewer letters where they may be wide ones."""
    return short(name, limit if name.isascii() else limit * 5 // 9)
