"""One look for every plot: two themes, one way to save. Figures are made without pyplot, so nothing is global.

Right is blue and wrong is red, everywhere; both can be told apart by people who see colours differently.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from toolkit.core.files import atomic_write
from toolkit.core.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI: Final = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """Colours of one theme, as #rrggbb."""

    background: str
    text: str
    muted: str
    grid: str
    right: str
    wrong: str
    third: str
    cycle: tuple[str, ...]


LIGHT: Final = Theme(
    background="#ffffff",
    text="#1b2433",
    muted="#5d6b82",
    grid="#e3e8f0",
    right="#2563eb",
    wrong="#d6322c",
    third="#0e9384",
    cycle=("#2563eb", "#e4761b", "#0e9384", "#b03fd1", "#d6322c", "#8a6d1f"),
)
DARK: Final = Theme(
    background="#161c27",
    text="#e6ebf4",
    muted="#9aa8bf",
    grid="#2b3547",
    right="#6b9dff",
    wrong="#ff7b72",
    third="#4fd1bd",
    cycle=("#6b9dff", "#ffa657", "#4fd1bd", "#d68cf0", "#ff7b72", "#d9bd63"),
)

_FALLBACK_FONTS: Final = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
)


@cache
def _fonts() -> list[str]:
    """DejaVu Sans, which comes with matplotlib, and what this machine has for scripts that it lacks."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]


@contextmanager
def style(theme: Theme = LIGHT) -> Iterator[Theme]:
    """Within this block figures are made in `theme`. Names are shown as they are, `$` included."""
    import matplotlib as mpl

    settings: dict[str, Any] = {
        "font.family": _fonts(),
        "font.size": 10,
        "text.parse_math": False,
        "text.color": theme.text,
        "axes.labelcolor": theme.muted,
        "axes.edgecolor": theme.grid,
        "axes.facecolor": theme.background,
        "axes.titlecolor": theme.text,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 12,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "xtick.color": theme.grid,
        "ytick.color": theme.grid,
        "xtick.labelcolor": theme.muted,
        "ytick.labelcolor": theme.muted,
        "legend.frameon": False,
        "legend.labelcolor": theme.text,
        "lines.linewidth": 2,
        "lines.solid_capstyle": "round",
        "figure.constrained_layout.h_pad": 0.1,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
    }
    with mpl.rc_context(settings):
        yield theme


def new_figure(width: float = 7.2, height: float = 4.6) -> tuple[Figure, Axes]:
    """An empty figure of `width` x `height` inches with one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def short(name: str, limit: int = 24) -> str:
    """A class name as plots show it: printable, on one line, cut in the middle where it is long.

    >>> short("a_very_long_name_of_a_class_2026")
    'a_very_long_…_class_2026'
    """
    shown = " ".join(printable(name).split()) or "(blank)"
    if len(shown) <= limit:
        return shown
    head = limit // 2
    return f"{shown[:head]}…{shown[head + 1 - limit :]}"


def save_png(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG; the file appears whole."""
    with atomic_write(path) as temporary, _quiet():
        figure.savefig(temporary, format="png", metadata={"Software": None})


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """Draw `figure`: uint8 (H, W, 3), RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with _quiet():
        canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


@contextmanager
def _quiet() -> Iterator[None]:
    """A script that no font here has is drawn as boxes, which does not deserve a warning per letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from font")
        yield
