"""Write small PyTorch classifiers as ONNX files, with what PyTorch itself answers, into tests/torch_onnx.

Needs torch, onnx, onnxscript and numpy, in an environment of their own:  python tools/make_torch_fixtures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

OUT = Path(__file__).parent.parent / "tests" / "torch_onnx"
SIZE, CLASSES = 24, 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Small(nn.Module):
    """Convolutions, batch normalisation, pooling, two ways of flattening; 5 classes."""

    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()
        )
        self.head = nn.Linear(8 * 5 * 5, CLASSES)
        self.softmax = softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.max_pool2d(self.features(x), 2)
        x = self.head(x.reshape(x.shape[0], -1)) * 4
        return torch.softmax(x, 1) if self.softmax else x


def main() -> int:
    OUT.mkdir(exist_ok=True)
    pictures = np.load(OUT / "pictures.npy")
    fed = ((torch.from_numpy(pictures).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    for name, softmax, half, batch in (
        ("dynamic_logits", False, False, None),
        ("fixed1_logits", False, False, 1),
        ("fixed4_softmax", True, False, 4),
        ("dynamic_float16", False, True, None),
    ):
        torch.manual_seed(len(name))
        model = Small(softmax=softmax).eval()
        with torch.no_grad():
            raw = model(fed)
        np.save(OUT / f"{name}.npy", (raw if softmax else torch.softmax(raw, 1)).numpy())
        example = fed[: batch or 2]
        if half:
            model, example = model.half(), example.half()
        torch.onnx.export(
            model,
            (example,),
            OUT / f"{name}.onnx",
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes=None if batch else ({0: torch.export.Dim("n")},),
            external_data=False,
            dynamo=True,
        )
        print(name, (OUT / f"{name}.onnx").stat().st_size, "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
