"""Bundles made quickly: a documented network, trained a little on a few real images."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from itertools import islice
from pathlib import Path

import keras
import numpy as np

from toolkit.images.decode import DecodeError, decode, verify
from toolkit.model_files import bundle as bundles
from toolkit.model_files.contract import Contract
from toolkit.training.networks import keras_model as network
from toolkit.training.recipes.recipe import Recipe


def unpack_some(archive: Path, target: Path, folder: str, per_class: int) -> Path:
    """The first `per_class` images of each class folder of `folder` within a zip archive; returns `target`."""
    taken: dict[str, int] = defaultdict(int)
    with zipfile.ZipFile(archive) as zipped:
        for name in sorted(zipped.namelist()):
            place = Path(name)
            if place.parent.parent == Path(folder) and place.suffix and taken[place.parent.name] < per_class:
                taken[place.parent.name] += 1
                out = target / place.parent.name / place.name
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_bytes(zipped.read(name))
    return target


def images_of(root: Path, per_class: int) -> list[Path]:
    """The first `per_class` readable images of each class folder of `root`, in order."""
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    return [p for folder in folders for p in islice(filter(_readable, sorted(folder.iterdir())), per_class)]


def _readable(path: Path) -> bool:
    try:
        verify(path.read_bytes())
    except DecodeError:
        return False
    return True


def make_bundle(folder: Path, recipe: Recipe, root: Path, *, per_class: int, epochs: int) -> Path:
    """Train the network of `recipe` for a moment on images of `root`, every second one; the others validate."""
    files = images_of(root, per_class)
    labels = recipe.labels or tuple(sorted({p.parent.name for p in files}))
    images = np.stack([decode(p.read_bytes(), recipe.preprocess) for p in files])
    truth = np.array([labels.index(p.parent.name) for p in files])
    nets = network.build(recipe, len(labels), seed=1)
    nets.trainer.fit(images[::2], truth[::2], epochs=epochs, batch_size=20, verbose=0)
    outputs = nets.network.predict(images[1::40].astype(np.float32), verbose=0)
    folder.mkdir(parents=True)
    nets.network.save(folder / bundles.MODEL_KERAS)
    bundles.write_check(folder / bundles.CHECK_NPZ, images[1::40], network.probabilities(outputs, recipe.output))
    subsets = ("train", "validation")
    rows = [bundles.DataRow(p.relative_to(root).as_posix(), p.parent.name, subsets[i % 2]) for i, p in enumerate(files)]
    bundles.write_data_csv(folder / bundles.DATA_CSV, rows)
    contract = Contract(
        labels=labels,
        preprocess=recipe.preprocess,
        recipe=recipe.name,
        fingerprint=bundles.weights_fingerprint(nets.network.get_weights()),
    )
    bundles.write_bundle_json(
        bundles.Bundle(
            path=folder,
            contract=contract,
            recipe_name=recipe.name,
            n_parameters=nets.network.count_params(),
            output=recipe.output,
            data={"root": str(root)},
        )
    )
    keras.utils.clear_session()
    return folder
