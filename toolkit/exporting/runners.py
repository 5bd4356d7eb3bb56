"""Run a file that was just written, with the runtime that will run it at the edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.core.errors import ModelError, missing_extra
from toolkit.exporting.options import Format
from toolkit.exporting.serving_graph import INPUT, OUTPUT, Images, Probabilities

Runner = Callable[[Images], Probabilities]


def open_runner(path: Path, kind: Format) -> Runner:
    """A function from pictures uint8 (N, H, W, C) to probabilities float32 (N, K), for any N.

    Raises:
        ModelError: the runtime refuses the file.
        MachineError: the runtime is not installed.
    """
    return {Format.ONNX: _onnx, Format.TFLITE: _tflite, Format.SAVEDMODEL: _savedmodel}[kind](path)


def _onnx(path: Path) -> Runner:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{path}: onnxruntime cannot open it ({_first_line(error)})") from error
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _tflite(path: Path) -> Runner:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise missing_extra("ai-edge-litert", "litert", "running a TFLite file") from None
    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: LiteRT cannot open it ({_first_line(error)})") from error
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    batch = [1]

    def run(images: Images) -> Probabilities:
        if len(images) != batch[0]:
            interpreter.resize_tensor_input(source["index"], images.shape)
            interpreter.allocate_tensors()
            batch[0] = len(images)
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        result: Probabilities = interpreter.get_tensor(target["index"])
        return result.copy()

    return run


def _savedmodel(path: Path) -> Runner:
    import tensorflow as tf

    loaded: Any = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    return lambda images: np.asarray(serve(images=tf.constant(images))[OUTPUT], dtype=np.float32)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
