"""A classifier cut before its last layer: images in, one vector of features for each out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from toolkit.core.errors import ModelError
from toolkit.core.text import first_line, printable
from toolkit.images.decode import Image
from toolkit.model_files.contract import Contract
from toolkit.model_files.contract_io import read_contract
from toolkit.sessions.onnx_session import CPU_PROVIDER, session_options
from toolkit.sessions.resolve import resolve_model
from toolkit.sessions.session import Probabilities

if TYPE_CHECKING:
    import onnx

MAX_FEATURES: Final = 16_384
"""More numbers than that are not features but a flattened image."""


class FeatureSession:
    """What comes before the last dense layer of an ONNX file, in onnxruntime on the CPU.

    It has the form of `toolkit.sessions.session.Session`, so that whatever labels images can compute features: the
    names of the features ("f0", "f1", …) stand where the class names do.

    Args:
        model: a bundle, an ONNX file, or the name `imagenet`.
        threads: threads within one `run`.

    Raises:
        ModelError: no model, one without a contract, no ONNX file, or one whose last layer is not dense.
        MachineError: `imagenet` cannot be made here.
    """

    device = "cpu"
    note = ""
    arithmetic = ""
    may_fork = False

    def __init__(self, model: Path, *, threads: int | None = None) -> None:
        import onnxruntime

        from toolkit.core.files import file_digest
        from toolkit.model_files.onnx_io import load_onnx

        path = resolve_model(model)
        shown = printable(str(path))
        if path.suffix.lower() != ".onnx":
            raise ModelError(f"{shown}: features are computed with ONNX files", hint="toolkit export model --onnx")
        contract = read_contract(path)
        graph = load_onnx(path)
        self.fingerprint = file_digest(path)
        self.n_bytes = path.stat().st_size
        self._output = cut_before_head(graph, shown)
        self._input: str = graph.graph.input[0].name
        options = session_options(threads)
        try:
            content = graph.SerializeToString()
            self._inner: Any = onnxruntime.InferenceSession(
                content, options, providers=[CPU_PROVIDER], enable_fallback=False
            )
        except Exception as error:
            raise ModelError(
                f"{shown}: onnxruntime cannot run it without its last layer ({first_line(error)})",
                hint="export it again, or check that the copy is complete",
            ) from None
        self.contract: Contract = replace(contract, labels=tuple(f"f{i}" for i in range(self._width(contract, shown))))

    def run(self, images_u8: Image) -> Probabilities:
        """Features float32 (N, D) of images uint8 (N, H, W, C)."""
        found: Probabilities = self._inner.run([self._output], {self._input: images_u8})[0]
        return found.reshape(len(images_u8), -1)

    def _width(self, contract: Contract, shown: str) -> int:
        import numpy as np

        n = int(self.run(np.zeros((1, *contract.preprocess.shape), np.uint8)).shape[1])
        if not 2 <= n <= MAX_FEATURES:
            raise ModelError(
                f"{shown}: {n:,} numbers come before its last layer; expected 2 to {MAX_FEATURES:,} features",
                hint="use another network, such as --model imagenet",
            )
        return n


def cut_before_head(model: onnx.ModelProto, shown: str) -> str:
    """Make the input of the last dense layer (Gemm or MatMul with fixed weights) the model's only output.

    Returns:
        The output's name.

    Raises:
        ModelError: there is no such layer. `shown` is the file's name.
    """
    import onnx

    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # sorted: a node comes after what it takes
        fixed = bool(node.input) and all(name in constants for name in node.input if name)
        if fixed or node.op_type == "Constant":
            constants.update(node.output)
    for node in reversed(graph.node):
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in constants and node.input[0] not in constants:
            name: str = node.input[0]
            del graph.output[:]
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
            return name
    raise ModelError(
        f"{shown}: its last layer is not a dense one, so it has no features to give",
        hint="use another network, such as --model imagenet",
    )
