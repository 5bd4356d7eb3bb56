"""What a split is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from toolkit.core.coerce import coerce
from toolkit.core.errors import UsageError
from toolkit.data.label_table import LabelTables
from toolkit.images.header import MAX_PIXELS
from toolkit.splitting.mode import Mode
from toolkit.splitting.plan import parse_ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitOptions:
    """How to split.

    Attributes:
        ratio: the shares of train and validation, or of train, validation and test; see `split_plan.parse_ratio`.
        seed: another seed, another split.
        out: the folder to make; None is `<source name>-split` in the working directory.
        mode: how images come into it: copy, hardlink, symlink or move.
        group_by: regular expression searched in each path; images for which its groups (or, without any, the whole
            match) are equal stay in one subset.
        keep_duplicates: keep exact copies of one label, together in one subset.
        near_duplicates: keep near copies in one subset.
        update: add what is new to the split in `out`; nothing that it has assigned moves.
        force: replace the split in `out`.
        dry_run: plan only; write nothing.
        strict: raise where any file would be left out; write nothing.
        verify: decode every pixel; False trusts the headers.
        max_pixels: larger images are left out.
        max_memory: bytes that all decoding of the run may take at once, also as text (`2GB`); None is half of the
            machine's or the container's memory.
        workers: threads; None is one per processor.
        labels: tables that give the classes; None: the class folders, or a `metadata.csv` in the source.
    """

    ratio: tuple[Decimal, ...] = field(default_factory=lambda: parse_ratio("0.9"))
    seed: int = 0
    out: Path | None = None
    mode: Mode = Mode.COPY
    group_by: str | None = None
    keep_duplicates: bool = False
    near_duplicates: bool = False
    update: bool = False
    force: bool = False
    dry_run: bool = False
    strict: bool = False
    verify: bool = True
    max_pixels: int = MAX_PIXELS
    max_memory: int | str | None = None
    workers: int | None = None
    labels: LabelTables | None = None

    def __post_init__(self) -> None:
        coerce(self, mode=Mode, out=Path, seed=int, max_pixels=int, workers=int)
        coerce(self, keep_duplicates=bool, near_duplicates=bool, update=bool, force=bool, dry_run=bool, strict=bool)
        coerce(self, verify=bool)
        object.__setattr__(self, "labels", LabelTables.of(self.labels))
        if isinstance(self.ratio, (str, float, Decimal)):
            object.__setattr__(self, "ratio", parse_ratio(str(self.ratio)))
        if self.update and self.force:
            raise UsageError("--update keeps the earlier split and --force replaces it: give one of them")
        try:
            re.compile(self.group_by or "")
        except re.error as error:
            raise UsageError(f"--group-by {self.group_by!r}: not a regular expression ({error})") from None

    def settings(self) -> dict[str, Any]:
        """What decides the outcome, in plain types for `split.json`."""
        names = ("seed", "mode", "group_by", "keep_duplicates", "near_duplicates", "verify", "max_pixels")
        return {"ratio": [str(part) for part in self.ratio], **{name: getattr(self, name) for name in names}}
