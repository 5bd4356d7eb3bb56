"""The entry of an export: loads TensorFlow, then writes the files."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.core.errors import missing_extra
from toolkit.core.progress import SILENT, Progress
from toolkit.core.tensorflow_import import without_collector
from toolkit.exporting.options import ExportOptions
from toolkit.exporting.results import ExportResult


def export(model: Path, options: ExportOptions, progress: Progress = SILENT) -> ExportResult:
    """Write the model in the formats that `options` names; see `toolkit.exporting.artefacts.write_artefacts`.

    Raises:
        MachineError: TensorFlow is not installed.
        ToolkitError: as `toolkit.exporting.artefacts.write_artefacts`.
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
    from toolkit.exporting.artefacts import write_artefacts

    return write_artefacts(model, options, progress)
