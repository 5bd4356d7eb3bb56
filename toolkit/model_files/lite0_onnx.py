"""EfficientNet-Lite0 with ImageNet's weights as an ONNX file that keeps the contract, made without TensorFlow.

Tan and Le, "EfficientNet" (arXiv:1905.11946); the Lite variants (Liu, 2020) leave out squeeze-and-excitation and use
ReLU6. The Keras network of the same name is in `toolkit.training.networks.efficientnet_lite`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolkit.model_files.contract import Contract
from toolkit.model_files.onnx_io import embed
from toolkit.model_files.pretrained import HEAD_FILTERS, lite0_blocks
from toolkit.model_files.torch_legacy import Tensors

Array = npt.NDArray[np.float32]

OPSET: Final = 18
IR_VERSION: Final = 9
_EPSILON: Final = np.float32(1e-3)


def lite0_onnx(tensors: Tensors, contract: Contract) -> onnx.ModelProto:
    """The classifier: uint8 NHWC in, probabilities out; scaling is inside, batch normalisation in the weights.

    Args:
        tensors: the published weights by PyTorch's names, as `toolkit.model_files.pretrained.read_lite0` gives them.
        contract: colour images of any size, 1,000 labels.

    Returns:
        A model that computes what PyTorch's does for `(x - 127) / 128`, to about 1e-4 in the logits. The same weights
        and contract give the same bytes.
    """
    graph = _Graph(tensors, contract.preprocess.shape)
    graph.classifier(graph.pooled(graph.head(graph.blocks(graph.images(), len(lite0_blocks())))))
    model = graph.model("probabilities", [len(contract.labels)])
    embed(model, contract)
    return model


def lite0_lower_onnx(tensors: Tensors, shape: tuple[int, int, int], n_blocks: int) -> onnx.ModelProto:
    """The stem and the first `n_blocks` blocks, for layers that are trained on top of them.

    Args:
        tensors: as `lite0_onnx` takes them.
        shape: (H, W, 3) of the images.

    Returns:
        A model: uint8 (N, H, W, 3) -> float32 (N, h, w, C), the last dimension that of the channels, as in Keras.
    """
    graph = _Graph(tensors, shape)
    x = graph.blocks(graph.images(), n_blocks)
    return graph.model(graph.channels_last(x), [*graph.size, lite0_blocks()[n_blocks - 1].after])


def lite0_features_onnx(tensors: Tensors, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """All but the classifier: uint8 (N, H, W, 3) -> float32 (N, 1280), averaged over the image.

    Args:
        tensors: as `lite0_onnx` takes them.
        shape: (H, W, 3) of the images.
    """
    graph = _Graph(tensors, shape)
    features = graph.pooled(graph.head(graph.blocks(graph.images(), len(lite0_blocks()))))
    return graph.model(features, [HEAD_FILTERS])


class _Graph:
    """A graph in the making: nodes, their constants, and the height and width that the next one is given."""

    def __init__(self, tensors: Tensors, shape: tuple[int, int, int]) -> None:
        self._tensors = tensors
        self._shape = shape
        self.size = shape[:2]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def images(self) -> str:
        """uint8 NHWC -> float32 NCHW, less 127; the stem's weights divide by 128."""
        x = self._add("Transpose", ["images"], "images_nchw", perm=[0, 3, 1, 2])
        x = self._add("Cast", [x], "values", to=TensorProto.FLOAT)
        return self._add("Sub", [x, self._constant("scaling.mean", np.float32(127))], "scaled")

    def convolution(
        self, x: str, name: str, norm: str, *, stride: int = 1, relu: bool = True, scale: float = 1.0
    ) -> str:
        """A convolution with `same` padding (that of TensorFlow: odd pixels at the end), its norm and its ReLU6."""
        kernel = np.asarray(self._tensors[f"{name}.weight"], np.float32)
        gamma, beta, mean, variance = (
            np.asarray(self._tensors[f"{norm}.{part}"], np.float32)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + _EPSILON)
        weights = self._constant(f"{name}.weight", kernel * (factor * np.float32(scale))[:, None, None, None])
        bias = self._constant(f"{name}.bias", beta - mean * factor)
        side = kernel.shape[2]
        begin, end = self._padding(side, stride)
        groups = 1 if kernel.shape[1] > 1 or side == 1 else len(kernel)
        x = self._add(
            "Conv",
            [x, weights, bias],
            name,
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[*begin, *end],
            group=groups,
        )
        return self._add("Clip", [x, *self._limits()], f"{name}.relu") if relu else x

    def blocks(self, x: str, n: int) -> str:
        """The stem and the first `n` inverted residual blocks."""
        x = self.convolution(x, "_conv_stem", "_bn0", stride=2, scale=1 / 128)
        for number, block in enumerate(lite0_blocks()[:n]):
            inputs, name = x, f"_blocks.{number}"
            if block.expansion > 1:
                x = self.convolution(x, f"{name}._expand_conv", f"{name}._bn0")
            x = self.convolution(x, f"{name}._depthwise_conv", f"{name}._bn1", stride=block.stride)
            x = self.convolution(x, f"{name}._project_conv", f"{name}._bn2", relu=False)
            if block.skips:
                x = self._add("Add", [x, inputs], f"{name}.sum")
        return x

    def head(self, x: str) -> str:
        """The last convolution."""
        return self.convolution(x, "_conv_head", "_bn1")

    def pooled(self, x: str) -> str:
        """NCHW -> features (N, C)."""
        x = self._add("GlobalAveragePool", [x], "pooled")
        return self._add("Flatten", [x], "features")

    def channels_last(self, x: str) -> str:
        """NCHW -> NHWC."""
        return self._add("Transpose", [x], "lower", perm=[0, 2, 3, 1])

    def classifier(self, x: str) -> None:
        """Features -> logits, probabilities."""
        weights = self._constant("_fc.weight", np.asarray(self._tensors["_fc.weight"], np.float32))
        bias = self._constant("_fc.bias", np.asarray(self._tensors["_fc.bias"], np.float32))
        x = self._add("Gemm", [x, weights, bias], "logits", transB=1)
        self._add("Softmax", [x], "probabilities", axis=1)

    def model(self, output: str, width: list[int]) -> onnx.ModelProto:
        """The whole, with `output` of shape (N, *width) as what it gives."""
        graph = helper.make_graph(
            self._nodes,
            "efficientnet_lite0",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *self._shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *width])],
            self._constants,
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="toolkit")

    def _add(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, value: Array | np.float32) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def _limits(self) -> tuple[str, str]:
        if not any(constant.name == "relu6.max" for constant in self._constants):
            self._constant("relu6.min", np.float32(0))
            self._constant("relu6.max", np.float32(6))
        return "relu6.min", "relu6.max"

    def _padding(self, kernel: int, stride: int) -> tuple[list[int], list[int]]:
        """Pixels before and after, (height, width) each; the size becomes that of the result."""
        result = tuple(-(-side // stride) for side in self.size)
        whole = [max(0, (out - 1) * stride + kernel - side) for out, side in zip(result, self.size, strict=True)]
        self.size = result[0], result[1]
        return [pixels // 2 for pixels in whole], [pixels - pixels // 2 for pixels in whole]
