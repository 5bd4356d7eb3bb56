"""How the library tells its caller how far it is, without ever printing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of one long operation; the command line draws it, tests record it.

    Attributes:
        draws: whether somebody is watching, so that it is worth counting how much there is to do.
    """

    draws: bool

    def start(self, task: str, total: int | None = None, unit: str = "files") -> None:
        """A stage begins. `total` is None where it is not known (a streamed directory)."""

    def expect(self, n: int) -> None:
        """The current stage turns out to have `n` units."""

    def advance(self, n: int = 1) -> None:
        """`n` more units of the current stage are done."""

    def status(self, text: str) -> None:
        """A line below the bar (loss, accuracy); it is replaced by the next one."""

    def finish(self) -> None:
        """The current stage is over, complete or not."""

    def line(self, text: str) -> None:
        """A line worth keeping in a log, such as one per epoch. Printed with or without a terminal."""

    def warn(self, text: str) -> None:
        """Something the user should know that is not a failure."""


class SilentProgress:
    """Says nothing: the default of every library function."""

    draws = False

    def start(self, task: str, total: int | None = None, unit: str = "files") -> None: ...

    def expect(self, n: int) -> None: ...

    def advance(self, n: int = 1) -> None: ...

    def status(self, text: str) -> None: ...

    def finish(self) -> None: ...

    def line(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


SILENT: Progress = SilentProgress()
