"""What a network computes for training images, as int8 needs it: ranges of its values, and their means by channel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from toolkit.exporting.serving_graph import INPUT, Images

N_SAMPLED: Final = 1 << 18
"""Values of one tensor that are kept, spread evenly over all images; 99.99 % of them leave 26 out."""
BATCH: Final = 4


class Calibration(StrEnum):
    """How the range of a tensor is chosen, in the order in which they are tried.

    percentile: the middle 99.99 % of its values; what lies outside is clipped, and the rest has finer steps.
    minmax: all of them.
    """

    PERCENTILE = "percentile"
    MINMAX = "minmax"


PERCENTILE: Final = 99.99

Ranges = Mapping[str, tuple[float, float]]
"""Name of a tensor -> its lowest and highest value."""
Means = Mapping[str, npt.NDArray[np.float64]]
"""Name of a tensor (N, C, …) -> the mean of each of its channels (C,)."""


@dataclass(slots=True)
class _Seen:
    """What one tensor was seen to hold; `sums` and `n` are of its channels."""

    lowest: float
    highest: float
    sums: npt.NDArray[np.float64]
    n: int
    sampled: list[npt.NDArray[np.float32]]


class Observer:
    """Collects the values of tensors, batch after batch, in memory that does not grow with the number of images.

    Args:
        n_images: how many images there will be.
    """

    def __init__(self, n_images: int) -> None:
        self._n_images = n_images
        self._seen: dict[str, _Seen] = {}
        self._rng = np.random.default_rng(0)

    def add(self, name: str, values: npt.NDArray[Any]) -> None:
        """Values of the tensor `name`: float32 (N, C, …) of N images."""
        flat = values.ravel()
        step = max(1, flat.size * self._n_images // (len(values) * N_SAMPLED)) | 1
        sampled = flat[self._rng.integers(step) :: step].copy()
        lowest, highest = float(flat.min()), float(flat.max())
        others = tuple(axis for axis in range(values.ndim) if axis != 1)
        sums, n = values.sum(axis=others, dtype=np.float64), values.size // values.shape[1]
        seen = self._seen.get(name)
        if seen is None:
            self._seen[name] = _Seen(lowest, highest, sums, n, [sampled])
            return
        seen.lowest, seen.highest = min(seen.lowest, lowest), max(seen.highest, highest)
        seen.sums, seen.n = seen.sums + sums, seen.n + n
        seen.sampled.append(sampled)

    def means(self) -> Means:
        """The mean of each channel of every tensor."""
        return {name: seen.sums / seen.n for name, seen in self._seen.items()}

    def ranges(self, calibration: Calibration) -> Ranges:
        """The range of every tensor. Zero is always in it: padding must be exact."""
        found = {}
        for name, seen in self._seen.items():
            low, high = seen.lowest, seen.highest
            if calibration is Calibration.PERCENTILE:
                cut = (100 - PERCENTILE) / 2
                inner = np.percentile(np.concatenate(seen.sampled), (cut, 100 - cut))
                if inner[0] < inner[1]:  # else it is nearly always the same value
                    low, high = map(float, inner)
            found[name] = (min(low, 0.0), max(high, 0.0))
        return found


def observe(model: onnx.ModelProto, operations: Collection[str], images_u8: Images) -> Observer:
    """Run the network, and see the values of all float32 tensors that `operations` take or give.

    Args:
        model: with the types of its tensors inferred.
        operations: types of nodes.
        images_u8: (N, H, W, C), N >= 1.
    """
    types = {value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)}
    named = {name for node in model.graph.node if node.op_type in operations for name in (*node.input, *node.output)}
    wanted = sorted(name for name in named if name in types and _is_batch(types[name]))
    observer = Observer(len(images_u8))
    for seen in activations(model, wanted, images_u8):
        for name, values in seen.items():
            observer.add(name, values)
    return observer


def activations(
    model: onnx.ModelProto, names: Sequence[str], images_u8: Images
) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """What a network computes for images, batch after batch: name of each float32 tensor -> values (B, ...)."""
    import onnxruntime

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    for name in names:
        opened.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for at in range(0, len(images_u8), BATCH):
        yield dict(zip(names, session.run(names, {INPUT: images_u8[at : at + BATCH]}), strict=True))


def _is_batch(kind: onnx.TypeProto.Tensor) -> bool:
    """Whether a tensor holds float32 values of each image."""
    return kind.elem_type == onnx.TensorProto.FLOAT and len(kind.shape.dim) >= 2
