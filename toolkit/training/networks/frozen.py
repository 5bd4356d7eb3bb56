"""The frozen lower layers of EfficientNet-Lite0 in onnxruntime, which on CPUs is twice as fast as TensorFlow.

Their weights are never trained, so that no gradient has to pass through them. Imports TensorFlow.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt

from toolkit.model_files.lite0_onnx import lite0_features_onnx, lite0_lower_onnx
from toolkit.sessions.onnx_session import CPU_PROVIDER, session_options
from toolkit.training.networks.efficientnet_lite import lite0_tensors

if TYPE_CHECKING:
    import onnx

Images = npt.NDArray[np.uint8]


class Frozen:
    """A model that is not trained: uint8 (N, H, W, 3) -> float32 (N, *shape).

    Attributes:
        shape: of what one image becomes.
        dtype: float32.
        key: the same for the same answers.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnxruntime

        content = model.SerializeToString()
        self.shape = tuple(side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim[1:])
        self.key = f"onnxruntime {onnxruntime.__version__} {hashlib.sha256(content).hexdigest()}"
        self._output, self._input = model.graph.output[0].name, model.graph.input[0].name
        self._session: Any = onnxruntime.InferenceSession(content, session_options(None), providers=[CPU_PROVIDER])

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        """What the model gives for a batch."""
        found: npt.NDArray[np.float32] = self._session.run([self._output], {self._input: images})[0]
        return found


def frozen_features(backbone: keras.Model) -> Frozen:
    """All of EfficientNet-Lite0, with the mean over each image: (1280,)."""
    return Frozen(lite0_features_onnx(lite0_tensors(backbone), backbone.input_shape[1:]))


def frozen_lower(backbone: keras.Model, n_blocks: int) -> Frozen:
    """The stem and the first `n_blocks` blocks of EfficientNet-Lite0: (h, w, C)."""
    return Frozen(lite0_lower_onnx(lite0_tensors(backbone), backbone.input_shape[1:], n_blocks))
