"""Smaller ONNX files: float16, and int8 as static QDQ."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from toolkit.exporting.serving_graph import INPUT, Images

# What an edge runtime computes in integers. Scaling before it and softmax or sigmoid behind it stay float32.
_INTEGER: Final = [
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Concat", "Relu", "Clip"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten", "Transpose", "Squeeze", "Pad"),
]


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph computed in float16; uint8 in and float32 out stay."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights too small for float16 become the smallest one; verification decides
        converted: onnx.ModelProto = convert_float_to_float16(copied, keep_io_types=True)
    return converted


def to_int8(model: onnx.ModelProto, calibration: Images) -> onnx.ModelProto:
    """Weights and activations in int8, ranges taken from `calibration`, weights per output channel.

    Weights take 7 bits of the 8: x86-64 without VNNI adds two products in 16 bits, and with 8 bits that saturates, so
    that a file that is right on one processor is wrong on the next. Activations are unsigned, which is what x86-64
    multiplies with. The logits are not rounded: 256 steps of them are too few for softmax.

    Args:
        model: the float32 graph with the contract's input.
        calibration: pictures uint8 (N, H, W, C) that the network was trained on.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """One picture at a time, as the runtime will see it."""

        def __init__(self) -> None:
            self._pictures = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]] | None:
            picture = next(self._pictures, None)
            return None if picture is None else {INPUT: picture[None]}

    with tempfile.TemporaryDirectory(prefix="toolkit-int8-") as folder:
        plain, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantized"))
        onnx.save(model, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)  # the symbolic one needs sympy
        quantize_static(
            prepared,
            quantized,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_INTEGER,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )
        return onnx.load(quantized)
