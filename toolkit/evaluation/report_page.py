"""An evaluation -> one HTML page that needs nothing else: no network, no other file.

Everything is in the document as the server would have sent it, so that it reads without its script, too; the script
only sorts and filters. Names are escaped by the template engine, and the page's own policy (CSP) lets no request out
and no script run but the one whose hash it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from toolkit import __version__
from toolkit.core import pages
from toolkit.core.files import write_text
from toolkit.core.ownership import PAGE_MARKER
from toolkit.core.text import printable
from toolkit.data.remote.urls import remote_url
from toolkit.data.split_tree import subset_of
from toolkit.data.thumbnail import thumbnail
from toolkit.evaluation.gallery import Shown
from toolkit.evaluation.report_plots import plots
from toolkit.evaluation.result import Evaluation
from toolkit.evaluation.summary import overall, per_class, title
from toolkit.images.limits import DEFAULT_LIMITS, Limits
from toolkit.images.thumbnail import data_uri
from toolkit.metrics.confusion import mistaken_for, taken_for
from toolkit.metrics.csv_files import digits
from toolkit.metrics.probabilistic import Threshold
from toolkit.plotting.confusion import frequent_confusions
from toolkit.plotting.style import DARK, LIGHT, Theme, pixels, style

PAGE: Final = "report.html"

MAX_TABLE_CLASSES: Final = 20
"""Classes up to which the page has the confusion matrix as a table whose cells choose images."""

HEADLINES: Final = ("accuracy", "balanced_accuracy", "macro_f1", "expected_calibration_error")
LIMITS: Final = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
MAX_PLOT_PIXELS: Final = 2400

_LOSSLESS: Final = 101


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One image of the gallery, as the template shows it."""

    shown: Shown
    kind: str
    image: str
    width: int
    height: int


def write_page(evaluation: Evaluation, path: Path, *, with_plots: bool = True, limits: Limits = DEFAULT_LIMITS) -> None:
    """Write the page of `evaluation`; `with_plots=False` leaves the plots out (they take seconds)."""
    text = page(evaluation, with_plots=with_plots, limits=limits)
    write_text(path, text)


def page(evaluation: Evaluation, *, with_plots: bool = True, limits: Limits = DEFAULT_LIMITS) -> str:
    """The whole page as HTML."""
    figures = overall(evaluation)
    script = pages.resource(__package__, "report.js")
    counts = evaluation.confusion.counts
    text: str = template("report.html.j2").render(
        e=evaluation,
        version=__version__,
        title=f"{printable(evaluation.model.path.name)} on {_dataset(evaluation.data.path)}",
        style=pages.resource(*pages.PAGE_CSS),
        script=script,
        script_hash=pages.script_hash(script),
        figures=figures,
        headlines=[name for name in HEADLINES if name in figures],
        others=[name for name in figures if name not in (*HEADLINES, "accuracy_low", "accuracy_high")],
        classes=per_class(evaluation),
        plots=_plots(evaluation) if with_plots else {},
        cards=_cards(evaluation, limits),
        thresholds=_thresholds(evaluation),
        counts=counts.tolist() if len(evaluation.labels) <= MAX_TABLE_CLASSES else None,
        supports=counts.sum(axis=1).tolist(),
        frequent=frequent_confusions(evaluation.confusion, 15),
        taken_for=[taken_for(evaluation.confusion, i, 2) for i in range(len(evaluation.labels))],
        mistaken_for=[mistaken_for(evaluation.confusion, i, 2) for i in range(len(evaluation.labels))],
    )
    return text


def _dataset(path: Path) -> str:
    """The name of a folder; of a subset of a split tree with that of the tree: PetImages-split/validation."""
    whole = path if remote_url(path) else path.resolve()
    return printable(f"{whole.parent.name}/{whole.name}" if subset_of(whole.name) else whole.name or ".")


def template(name: str) -> Any:
    """A template of this package, with the filters that all pages share; what it is given is escaped."""
    environment = pages.environment(__package__)
    environment.filters |= {"digits": digits, "title": title, "printable": _printable, "percent": percent}
    environment.globals |= {"number": number, "marker": PAGE_MARKER}
    return environment.get_template(name)


def _printable(value: object) -> str:
    """Text that HTML can hold: no control characters, bytes that are not UTF-8 as `\\xNN`."""
    text = printable(str(value))
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def percent(value: float) -> str:
    """A rate as people read it; a dash where it is undefined.

    >>> percent(0.8333), percent(float("nan"))
    ('83.3 %', '–')
    """
    return "–" if value != value else f"{100 * value:.1f} %"  # noqa: PLR0124


def number(name: str, value: float) -> str:
    """A metric as people read it: rates in per cent, the others with three decimals."""
    if value != value:  # noqa: PLR0124
        return "–"
    if name in ("log_loss", "cohen_kappa", "matthews_correlation", "expected_calibration_error"):
        return f"{value:.3f}"
    return percent(value)


def _plots(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Name -> both themes as data URIs, width, height and the words that stand for it."""
    found: dict[str, dict[str, Any]] = {}
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        for plot_name, alt, image, size in _drawn(evaluation, theme):
            found.setdefault(plot_name, {"alt": alt, "height": size[0], "width": size[1]})[name] = image
    return found


def _drawn(evaluation: Evaluation, theme: Theme) -> Sequence[tuple[str, str, str, tuple[int, int]]]:
    drawn = []
    with style(theme):
        for plot in plots(evaluation, theme):
            dpi = plot.figure.dpi
            plot.figure.set_dpi(min(dpi, MAX_PLOT_PIXELS / max(plot.figure.get_size_inches())))
            image = pixels(plot.figure)
            size = tuple(round(inches * 100) for inches in reversed(plot.figure.get_size_inches()))
            drawn.append((plot.name, plot.alt, data_uri(image, quality=_LOSSLESS), (size[0], size[1])))
    return drawn


def _cards(evaluation: Evaluation, limits: Limits) -> list[Card]:
    cards = []
    for kind, tiles in (("mistake", evaluation.mistakes), ("doubtful", evaluation.doubtful)):
        for shown in tiles:
            image = thumbnail(shown.path, limits=limits)
            uri, width, height = (image.uri, image.width, image.height) if image else ("", 0, 0)
            cards.append(Card(shown=shown, kind=kind, image=uri, width=width, height=height))
    return cards


def _thresholds(evaluation: Evaluation) -> list[Threshold]:
    table = evaluation.probabilities.thresholds()
    return [row for row in table if row.min_confidence in LIMITS]
