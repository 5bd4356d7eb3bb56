"""A folder for the person who builds the device: the model, sample images with their answers, minimal clients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from toolkit.core.files import atomic_folder
from toolkit.exporting.options import Format
from toolkit.exporting.results import Artefact
from toolkit.exporting.verification import Proof, open_runner
from toolkit.images.decode import Image, encode_png
from toolkit.images.spec import Colour
from toolkit.model_files.contract_io import LABELS_ASSET, labels_text

N_SAMPLES: Final = 3
KIT: Final = "kit"


def write_kit(target: Path, artefacts: Sequence[Artefact], proof: Proof) -> None:
    """Write the folder `target`, in place of an older one.

    The samples are PNGs of the network's own size, so that every client sees the very pixels of the expected answers.

    Args:
        target: the folder.
        artefacts: ONNX and TFLite files; the clients use the ONNX file where there is one.
        proof: where the samples come from.
    """
    files = [artefact for artefact in artefacts if artefact.format is not Format.SAVEDMODEL]
    first = min(files, key=lambda artefact: artefact.format is not Format.ONNX)
    contract = first.contract
    images = _clear(proof)
    answers = open_runner(first.path, first.format)(images)
    with atomic_folder(target) as folder:
        for artefact in files:
            shutil.copyfile(artefact.path, folder / artefact.path.name)
        (folder / LABELS_ASSET).write_text(labels_text(contract), encoding="utf-8")
        samples = []
        for at, (image, answer) in enumerate(zip(images, answers, strict=True), 1):
            name = f"sample-{at}.png"
            (folder / name).write_bytes(encode_png(image))
            samples.append(
                {"file": name, "label": contract.labels[int(answer.argmax())], "probabilities": answer.tolist()}
            )
        (folder / "samples.json").write_text(json.dumps(samples, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        spec = contract.preprocess
        values = {
            "MODEL": first.path.name,
            "HEIGHT": spec.height,
            "WIDTH": spec.width,
            "CHANNELS": spec.channels,
            "MODE": "RGB" if spec.colour is Colour.RGB else "L",
            "RESIZE": spec.resize,
        }
        _fill("classify.py.txt", folder / "classify.py", values)
        if first.format is Format.ONNX:
            _fill("index.html", folder / "index.html", values)
            _fill("package.json", folder / "package.json", {})


def _clear(proof: Proof) -> Image:
    """Three images whose answer is clear, of different classes where there are that many: uint8 (3, H, W, C)."""
    order = np.argsort(-proof.expected.max(axis=1), kind="stable")
    best = proof.expected.argmax(axis=1)
    first = [int(at) for at in order if at == order[best[order] == best[at]][0]]
    chosen = [*first, *(int(at) for at in order if int(at) not in first)][:N_SAMPLES]
    return proof.samples.images_u8[chosen]


def _fill(template: str, path: Path, values: dict[str, Any]) -> None:
    text = resources.files("toolkit.exporting").joinpath("_kit", template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path.write_text(text, encoding="utf-8")
