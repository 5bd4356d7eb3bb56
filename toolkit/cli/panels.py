"""How the options of a command are grouped in its help: what it does first, what all commands share last."""

from __future__ import annotations

from typing import Final

LABELS = "Labels"
OUTPUT = "Files that are there already"
SPEED = "Speed and memory"
MESSAGES = "Messages and help"

SHARED: Final = {
    LABELS: ("--labels", "--columns"),
    OUTPUT: ("--update", "--resume", "--force", "--dry-run", "--undo"),
    SPEED: (
        "--device",
        "--runtime",
        "--precision",
        "--batch-size",
        "--workers",
        "--gpus",
        "--max-memory",
        "--max-pixels",
        "--cache-dir",
        "--time-budget",
    ),
    MESSAGES: ("--log-format", "--quiet", "--verbose", "--help"),
}
"""Group -> the options that stand in it in the help of every command, unless `OWN` or the option says otherwise."""

OWN: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "split": {
        "Copies and groups": ("--group-by", "--keep-duplicates", "--near-duplicates"),
        "What is left out": ("--strict", "--no-verify"),
    },
    "check": {
        "Suspected wrong labels": ("--model", "--folds"),
        "Thresholds": (
            *("--near", "--dark", "--bright", "--blank", "--blurred", "--grey"),
            *("--odd-size", "--odd-shape", "--few", "--imbalance"),
        ),
    },
    "train": {
        "Instead of what the recipe says": ("--epochs", "--batch-size", "--image-size", "--seed", "--weights"),
    },
    "export": {
        "How a file is verified": ("--data", "--runtime", "--force"),
        "For a .keras file": ("--labels", "--values", "--output", "--resize"),
    },
    "adopt": {
        "What the file expects": (
            *("--image-size", "--values", "--mean", "--std", "--channels", "--layout", "--resize", "--crop-fraction"),
        ),
        "Its answers": ("--output", "--labels"),
    },
    "embed": {
        "Which files": ("--include", "--exclude", "--null"),
        "Which images are alike": ("--like", "--top"),
    },
    "review": {"Which classes": ("--model", "--labels")},
    "evaluate": {"A gate for scripts": ("--fail-under", "--strict")},
    "cache": {"Options": ("--cache-dir",)},
    "": {"Options": ("--help",)},
}
"""Command -> its own groups; "" for groups of commands."""


def panel_of(command: str, names: list[str]) -> str | None:
    """The group of an option with these names; None for one that stands in the first group.

    >>> panel_of("export", ["--labels"]), panel_of("train", ["--labels"]), panel_of("train", ["-o", "--out"])
    ('For a .keras file', 'Labels', None)
    """
    for groups in (OWN.get(command, {}), SHARED):
        for panel, options in groups.items():
            if any(name in options for name in names):
                return None if panel == "Options" else panel
    return None


def rank(command: str, panel: str | None) -> int:
    """Where a group stands in the help of a command: the first group, its own ones, what is shared."""
    if panel is None:
        return 0
    order = [*OWN.get(command, {}), *SHARED]
    return order.index(panel) + 2 if panel in order else 1
