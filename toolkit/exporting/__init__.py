"""Bundle or `.keras` file -> ONNX, TFLite and SavedModel, each proven against the Keras model before it is kept.

The options come without TensorFlow; `export` loads it.
"""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.errors import missing_extra
from toolkit.exporting.options import Artefact, ExportOptions, ExportResult, Format, Output, Quantize, Values
from toolkit.importing import without_collector
from toolkit.progress import SILENT, Progress

__all__ = ["Artefact", "ExportOptions", "ExportResult", "Format", "Output", "Quantize", "Values", "export"]


def export(model: Path, options: ExportOptions, progress: Progress = SILENT) -> ExportResult:
    """Write the model in the formats that `options` names; see `toolkit.exporting.exporter.export`.

    Raises:
        MachineError: TensorFlow is not installed.
        ToolkitError: as `toolkit.exporting.exporter.export`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    progress.start("loading TensorFlow", unit="")
    try:
        with without_collector():
            import keras  # noqa: F401
            import tensorflow as tf  # noqa: F401
            import tf2onnx  # noqa: F401
    except ImportError as error:
        raise missing_extra(error.name or "tensorflow", "train", "exporting") from None
    finally:
        progress.finish()
    from toolkit.exporting import exporter

    return exporter.export(model, options, progress)
