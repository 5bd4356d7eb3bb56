"""The folder of reports: ours by its marker, held by one run at a time, replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from toolkit.core.locking import lock
from toolkit.core.ownership import claim_folder, has_columns, json_object
from toolkit.core.publish import published
from toolkit.data.remote.urls import refuse_remote_out
from toolkit.evaluation.report_files import (
    CONFUSION_CSV,
    METRICS_JSON,
    PREDICTIONS_CSV,
    REPORT_CSV,
    REPORT_TXT,
    THRESHOLDS_CSV,
)
from toolkit.evaluation.report_page import PAGE

COMPARE_CSV: Final = "compare.csv"
CHANGED_CSV: Final = "changed.csv"
COMPARE_PAGE: Final = "compare.html"
PLOTS: Final = (
    "confusion", "classes", "reliability", "confidence", "thresholds", "precision_recall", "roc", "training",
)  # fmt: skip
"""Names of the plots, without the suffix."""

REPORT_NAMES: Final = frozenset(
    (PREDICTIONS_CSV, REPORT_CSV, REPORT_TXT, CONFUSION_CSV, THRESHOLDS_CSV, METRICS_JSON, PAGE)
) | {f"{name}.png" for name in PLOTS}
COMPARISON_NAMES: Final = frozenset((COMPARE_CSV, CHANGED_CSV, COMPARE_PAGE))


@contextmanager
def report_folder(out: Path, names: frozenset[str], *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder for reports called `names`, which appear in `out` together when the block ends well.

    Raises:
        InputError: files of these names are in `out`, and no evaluation wrote them.
        LockedError: another run is writing `out`.
    """
    refuse_remote_out(out)
    out = out if out.name else Path(out.resolve())
    claim_folder(out, names, is_report_folder, force=force)
    with lock(out), published(out, _is_report) as folder:
        yield folder


def is_report_folder(path: Path) -> bool:
    """Whether an evaluation or a comparison was written into the folder `path`."""
    if "toolkit" in json_object(path / METRICS_JSON):
        return True
    table = path / COMPARE_CSV
    return table.is_file() and has_columns(table, ("accuracy", "changed"), first="model")


def _is_report(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        return is_report_folder(path) and all(map(_is_report, path.iterdir()))
    return path.name in REPORT_NAMES | COMPARISON_NAMES
