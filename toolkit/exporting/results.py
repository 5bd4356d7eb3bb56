"""What an export gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.exporting.options import Format
from toolkit.model_files.contract import Contract


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """How one file compares with the Keras model, on the same images.

    Attributes:
        n_images: images compared.
        difference: largest difference of a probability.
        agreement: share of images with the same top-1, 0..1.
        accuracy: the file's accuracy on the labelled images, and the Keras model's; None where none is labelled.
        limit: the largest difference allowed, None where the kind of file has none.
        misses: which limits were missed; empty is a pass.
    """

    n_images: int
    difference: float
    agreement: float
    accuracy: tuple[float, float] | None
    limit: float | None
    misses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Artefact:
    """One file that was written.

    Attributes:
        path: the file (or the SavedModel's folder).
        format: its kind.
        size_bytes: its size (all files of a SavedModel together).
        sha256: of the file; of all files in order of their names for a SavedModel.
        contract: what it carries.
        verification: how it compares with the Keras model.
    """

    path: Path
    format: Format
    size_bytes: int
    sha256: str
    contract: Contract
    verification: Verification


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What an export wrote."""

    artefacts: tuple[Artefact, ...]
    report_path: Path
    kit_path: Path | None = None
