"""Where an export begins: a bundle, or a `.keras` file with the class names beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.core.errors import InputError, ModelError, UsageError
from toolkit.data.labels_file import read_labels
from toolkit.data.passed_over import PassedOver, images_in
from toolkit.data.split_tree import find_split_tree
from toolkit.data.walk import class_folders
from toolkit.exporting import serving_graph as network
from toolkit.exporting.keras_file import load_keras
from toolkit.exporting.options import ExportOptions
from toolkit.exporting.serving_graph import Network
from toolkit.images.spec import Colour, Preprocess
from toolkit.model_files import bundle as bundles
from toolkit.model_files.bundle import Bundle, LabeledPath
from toolkit.model_files.contract import Contract
from toolkit.model_files.conventions import Output, Values


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """What is exported, and the images to prove it with.

    Attributes:
        network: the network in its exported form.
        out: the folder that files go to where none is named.
        verification: labelled images, none of which was trained on.
        calibration: images from the training subset.
        bundle: the bundle, None for a `.keras` file.
    """

    network: Network
    out: Path
    verification: tuple[LabeledPath, ...]
    calibration: tuple[LabeledPath, ...]
    bundle: Bundle | None = None


def open_model(path: Path, options: ExportOptions) -> ExportSource:
    """Load the network at `path`, a bundle or a `.keras` file.

    Raises:
        ModelError: missing, damaged, or no network that toolkit can export.
        UsageError: options that do not go with this kind of model, or are missing.
        InputError: `options.data` or `options.labels` is not what was expected.
    """
    if path.suffix == ".keras":
        return _open_keras(path, options)
    return _open_bundle(path, options)


def _open_bundle(path: Path, options: ExportOptions) -> ExportSource:
    given = [name for name, value in (("labels", options.labels), ("values", options.values)) if value]
    if given or options.output:
        raise UsageError(
            f"{path}: a bundle knows its class names, values and output", hint="leave out --labels, --values, --output"
        )
    bundle = bundles.load_bundle(path)
    model = load_keras(bundle.keras_path)
    found = bundles.weights_fingerprint(model.get_weights())
    if found != bundle.contract.fingerprint:
        raise ModelError(
            f"{bundle.keras_path}: not the network that {bundles.BUNDLE_JSON} describes (weights {found[:12]}, "
            f"expected {bundle.contract.fingerprint[:12]})",
            hint="train the model again, or restore the bundle from a copy",
        )
    if network.input_shape(model) != bundle.contract.preprocess.shape:
        raise ModelError(
            f"{bundle.keras_path}: input {network.input_shape(model)}, the contract says "
            f"{bundle.contract.preprocess.shape}",
            hint="train the model again, or restore the bundle from a copy",
        )
    output = Output.LOGITS if bundle.output == "logits" else Output.PROBABILITIES
    built = network.build(model, bundle.contract, Values.BYTES, output)
    calibration = tuple(bundle.samples("train"))
    verification = labelled(options.data, built.contract) if options.data else tuple(bundle.samples("validation"))
    return ExportSource(
        network=built, out=options.out or path, verification=verification, calibration=calibration, bundle=bundle
    )


def _open_keras(path: Path, options: ExportOptions) -> ExportSource:
    if options.labels is None:
        raise UsageError(
            f"{path}: a .keras file does not hold its class names",
            hint="--labels FILE, one class name a line, in the order of the network's outputs",
        )
    if options.data is None:
        raise UsageError(
            f"{path}: there are no images to verify the exported file with",
            hint="--data DIR, a folder with one folder of images per class",
        )
    model = load_keras(path)
    height, width, channels = network.input_shape(model)
    colour = Colour.RGB if channels == 3 else Colour.GREY
    contract = Contract(
        labels=read_labels(options.labels),
        preprocess=Preprocess(height=height, width=width, colour=colour, resize=options.resize),
        recipe=path.name,
        fingerprint=bundles.weights_fingerprint(model.get_weights()),
    )
    values, output = network.require(
        options.values or network.find_values(model), options.output or network.find_output(model), str(path)
    )
    samples = labelled(options.data, contract)
    return ExportSource(
        network=network.build(model, contract, values, output),
        out=options.out or path.parent,
        verification=samples,
        calibration=samples,
    )


def labelled(root: Path, contract: Contract) -> tuple[LabeledPath, ...]:
    """The images in the class folders of `root`; of a split tree, in those that `evaluate` takes.

    Raises:
        InputError: no folders that are named like the contract's classes.
    """
    if tree := find_split_tree(root):
        root = tree.for_evaluation
    folders = {name: folder for name, folder in class_folders(root).items() if name in contract.labels}
    if not folders:
        raise InputError(
            f"{root}: expected folders named like the classes ({', '.join(contract.labels[:5])}), found none of them",
            hint="give the folder that holds the class folders",
        )
    return tuple(
        LabeledPath(folder / place, name)
        for name, folder in folders.items()
        for place in images_in(str(folder), PassedOver())
    )
