"""Run a file that was just written, with the session that `toolkit infer` will run it with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.exporting.options import Format
from toolkit.exporting.serving_graph import OUTPUT, Images, Probabilities
from toolkit.sessions.backend import Runtime
from toolkit.sessions.open_session import open_session

Runner = Callable[[Images], Probabilities]


def open_runner(path: Path, kind: Format, runtime: Runtime = Runtime.AUTO) -> Runner:
    """A function from images uint8 (N, H, W, C) to probabilities float32 (N, K), for any N.

    Args:
        path: the file, with its contract.
        kind: what it is.
        runtime: what runs an ONNX file, as `toolkit infer --runtime` takes it.

    Raises:
        ModelError: the runtime refuses the file.
        MachineError: the runtime is not installed.
    """
    if kind is Format.SAVEDMODEL:
        return _savedmodel(path)
    return open_session(path, device="cpu", runtime=runtime if kind is Format.ONNX else Runtime.AUTO, proving=True).run


def _savedmodel(path: Path) -> Runner:
    import tensorflow as tf

    loaded: Any = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    return lambda images: np.asarray(serve(images=tf.constant(images))[OUTPUT], dtype=np.float32)
