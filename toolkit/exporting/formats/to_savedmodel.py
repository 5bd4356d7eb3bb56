"""Network -> SavedModel."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from toolkit.core.errors import MachineError
from toolkit.core.text import first_line, printable
from toolkit.exporting.serving_graph import OUTPUT, Images, Network, Probabilities
from toolkit.model_files.contract import Contract
from toolkit.model_files.contract_io import CONTRACT_ASSET, LABELS_ASSET, labels_text

SIGNATURE = "serving_default"


def save(network: Network, path: Path, contract: Contract) -> None:
    """Write the folder `path`: one signature, the contract and `labels.txt` as assets.

    It loads with TensorFlow alone: the graph and the weights are in it, no Keras objects.

    Raises:
        MachineError: it cannot be written there.
    """
    serve = network.serving()
    with tempfile.TemporaryDirectory(prefix="toolkit-assets-") as folder:
        texts = {CONTRACT_ASSET: contract.to_json() + "\n", LABELS_ASSET: labels_text(contract)}
        for name, text in texts.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        module = tf.Module()
        module.serve = serve
        module.weights = [variable.value for variable in network.layers.variables]
        module.assets = [tf.saved_model.Asset(str(Path(folder) / name)) for name in texts]
        try:
            tf.saved_model.save(module, str(path), signatures={SIGNATURE: serve})
        except tf.errors.OpError as error:  # TensorFlow's own words for a full disk, and the like
            raise MachineError(
                f"{printable(str(path))}: cannot be written ({first_line(error)})",
                hint="make room on that disk, then run the same command again",
            ) from None


def load(path: Path) -> Callable[[Images], Probabilities]:
    """A function from images uint8 (N, H, W, C) to what the SavedModel at `path` gives, float32 (N, K)."""
    loaded: Any = tf.saved_model.load(str(path))
    serve = loaded.signatures[SIGNATURE]
    return lambda images: np.asarray(serve(images=tf.constant(images))[OUTPUT], dtype=np.float32)
