"""The files that `check` writes: held and claimed before the work, and replaced together after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from toolkit.checking.check import CheckResult
from toolkit.checking.findings import is_findings, write_findings
from toolkit.core.errors import UsageError
from toolkit.core.files import atomic_write
from toolkit.core.locking import lock
from toolkit.core.ownership import claim, is_page
from toolkit.images.limits import DEFAULT_LIMITS, Limits

Write = Callable[[CheckResult], None]


@contextmanager
def outputs(
    table: Path | None,
    page: Path | None,
    *,
    force: bool = False,
    csv_safe: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Write]:
    """Yield the function that writes the table of the findings and their page; either may be None.

    Both are whole before either takes the place of an older one.

    Raises:
        UsageError: both have the same name.
        InputError: one exists and is not ours.
        LockedError: another run is writing one of them.
    """
    if table and page and table.resolve() == page.resolve():
        raise UsageError(f"--out and --html both name {table}", hint="--out findings.csv --html findings.html")
    with ExitStack() as held:
        for path, is_ours, option in ((table, is_findings, "--out"), (page, is_page, "--html")):
            if path:
                claim(path, is_ours, force=force, option=option)
                held.enter_context(lock(path))

        def write(result: CheckResult) -> None:
            from toolkit.checking.page import write_page  # OpenCV and Jinja only where there is a page

            with ExitStack() as whole:
                if table:
                    write_findings(result.findings, whole.enter_context(atomic_write(table)), csv_safe=csv_safe)
                if page:
                    write_page(result, whole.enter_context(atomic_write(page)), limits)

        yield write
