"""What can go wrong, each kind with its own exit code.

The library raises these; `toolkit.cli.main` alone turns them into a line on stderr and an exit code.
A message says the path, what was found, what was expected; `hint` is the next thing to do.
"""

from __future__ import annotations


class ToolkitError(Exception):
    """Base of every error that a user is meant to read.

    Args:
        message: the path, what was found and what was expected.
        hint: what to do next, a command where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ToolkitError):
    """The command line or the arguments of a function do not go together."""

    exit_code = 2


class InputError(ToolkitError):
    """The input is missing, empty, or not what was expected."""

    exit_code = 3


class ModelError(ToolkitError):
    """A model file, a bundle or a recipe is missing, damaged, or breaks the contract."""

    exit_code = 4


class MismatchError(ToolkitError):
    """An exported file does not compute what its model computes; nothing was kept."""

    exit_code = 5


class GateError(ToolkitError):
    """The work is finished, but found what it was told to fail on (failed files, findings, low metrics)."""

    exit_code = 6


class LockedError(ToolkitError):
    """Another run holds the output."""

    exit_code = 7


class MachineError(ToolkitError):
    """The machine does not allow it: a missing extra, no CUDA, a full disk, no permission, too little memory."""

    exit_code = 8


def missing_extra(package: str, extra: str, purpose: str) -> MachineError:
    """The error for an optional package that is not installed.

    >>> print(missing_extra("tensorflow", "train", "training").hint)
    pip install "toolkit-images[train]"
    """
    return MachineError(
        f"{purpose} needs the package {package!r}, which is not installed here",
        hint=f'pip install "toolkit-images[{extra}]"',
    )
