"""Pictures of a training: what it saw, what augmentation makes of it, what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.plot_style import DPI, Theme, save_png, short, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Images = npt.NDArray[np.uint8]

SAMPLES: Final = 25
AUGMENTED: Final = 9
PREDICTIONS: Final = 15
_BARS: Final = 10  # classes that a picture's bars show at most


def write_samples(path: Path, images_u8: Images, names: Sequence[str]) -> None:
    """A grid of training pictures, each under its class.

    Args:
        images_u8: uint8 (n, H, W, C), n <= 25.
        names: class name of each.
    """
    with style() as theme:
        columns = 5
        rows = -(-len(names) // columns)
        figure = _figure(7.6, 1.66 * rows + 0.5)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, image, name in zip(grid, images_u8, names, strict=False):
            _picture(axes, image)
            axes.set_title(short(name, 18), fontsize=9, fontweight="normal", loc="center", pad=4, color=theme.text)
        _title(figure, "Training pictures, as the network is fed", theme)
        save_png(figure, path)


def write_augmented(path: Path, original_u8: Images, augmented: npt.NDArray[np.float32], name: str) -> None:
    """One picture and what augmentation makes of it.

    Args:
        original_u8: uint8 (H, W, C).
        augmented: float32 (9, H, W, C), about 0..255.
    """
    images = [original_u8, *np.clip(augmented, 0, 255).astype(np.uint8)]
    with style() as theme:
        figure = _figure(7.6, 3.9)
        for index, (axes, image) in enumerate(zip(figure.subplots(2, 5).ravel(), images, strict=True)):
            _picture(axes, image)
            axes.set_axis_off()
            title = "original" if index == 0 else f"augmented {index}"
            axes.set_title(title, fontsize=9, fontweight="normal", loc="center", pad=4, color=theme.muted)
        _title(figure, f"One picture ({short(name)}), augmented nine times", theme)
        save_png(figure, path)


def write_predictions(
    path: Path,
    images_u8: Images,
    truth: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    labels: Sequence[str],
) -> None:
    """Validation pictures with the predicted and the true class and the class bars; right in blue, wrong in red.

    Args:
        images_u8: uint8 (n, H, W, C), n <= 15.
        truth: (n,) class indices.
        probabilities: (n, K).
    """
    columns, rows = 3, -(-len(truth) // 3)
    with style() as theme:
        figure = _figure(9.6, 1.75 * rows + 0.6)
        grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 0.9] * columns).ravel()
        for axes in grid:
            axes.set_axis_off()
        for i, image in enumerate(images_u8):
            picture, bars = grid[2 * i], grid[2 * i + 1]
            _picture(picture, image)
            _answer(picture, bars, int(truth[i]), probabilities[i], labels, theme)
        right = int((probabilities.argmax(axis=1) == truth).sum())
        _title(figure, f"Validation pictures: {right} of {len(truth)} right (blue), the others wrong (red)", theme)
        save_png(figure, path)


def _answer(
    picture: Axes,
    bars: Axes,
    truth: int,
    probabilities: npt.NDArray[np.float32],
    labels: Sequence[str],
    theme: Theme,
) -> None:
    """The words over one picture and the bars beside it."""
    predicted = int(probabilities.argmax())
    colour = theme.right if predicted == truth else theme.wrong
    words = f"{short(labels[predicted], 16)} {probabilities[predicted]:.0%}"
    if predicted != truth:
        words += f"\ntrue: {short(labels[truth], 16)}"
    picture.set_title(words, fontsize=9, fontweight="normal", color=colour, loc="center", pad=4)
    shown = np.sort(np.argsort(-probabilities, kind="stable")[:_BARS])
    colours = [colour if k == predicted else theme.right if k == truth else theme.muted for k in shown]
    bars.set_axis_on()
    bars.barh([short(labels[k], 12) for k in shown], probabilities[shown], color=colours, height=0.7)
    bars.set_xlim(0, 1)
    bars.set_xticks([])
    bars.invert_yaxis()
    bars.grid(visible=False)
    bars.tick_params(axis="y", labelsize=7 if len(shown) > 5 else 8, length=0)
    bars.spines[:].set_visible(False)


def _picture(axes: Axes, image_u8: Images) -> None:
    grey = image_u8.shape[2] == 1
    colours: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if grey else {}
    axes.imshow(image_u8[..., 0] if grey else image_u8, interpolation="nearest", **colours)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _title(figure: Figure, text: str, theme: Theme) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold", color=theme.text)
