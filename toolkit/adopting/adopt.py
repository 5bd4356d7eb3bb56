"""A foreign ONNX classifier -> a file that keeps the contract.

The missing nodes (cast, scaling, channel order, layout, softmax) are written around the graph; the new file is then
run beside the original before it is kept.
"""

from __future__ import annotations

import ast
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from toolkit.adopting import graph as adoption_graph
from toolkit.adopting.comparison import Original, compare
from toolkit.adopting.graph import Feeding, Shapes
from toolkit.core.coerce import coerce
from toolkit.core.errors import MismatchError, ModelError, UsageError
from toolkit.core.files import atomic_write
from toolkit.core.locking import lock
from toolkit.core.ownership import claim
from toolkit.data.labels_file import read_labels
from toolkit.images.decode import decode
from toolkit.images.spec import Colour, Preprocess, Resize
from toolkit.model_files.contract import METADATA_KEY, Contract
from toolkit.model_files.contract_io import has_contract
from toolkit.model_files.conventions import Channels, Output, TensorLayout, Values
from toolkit.model_files.onnx_io import embed, load_onnx, stored_tensors
from toolkit.sessions.backend import Runtime
from toolkit.sessions.open_session import open_session

Floats = npt.NDArray[np.floating[Any]]
N_IMAGES: Final = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """How a family of classifiers wants to be fed."""

    values: Values
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Channels = Channels.RGB
    resize: Resize = Resize.CROP
    output: Output | None = None


PRESETS: Final[Mapping[str, Preset]] = {
    # torchvision and most of timm.
    "imagenet": Preset(values=Values.UNIT, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), output=Output.LOGITS),
    # The classification models of Ultralytics; their labels are in the file.
    "ultralytics": Preset(values=Values.UNIT, output=Output.PROBABILITIES),
    # Keras Applications by the `mode` of their preprocess_input.
    "keras-tf": Preset(values=Values.SYMMETRIC, resize=Resize.SQUASH),
    "keras-torch": Preset(
        values=Values.UNIT, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=Resize.SQUASH
    ),
    "keras-caffe": Preset(
        values=Values.BYTES, mean=(103.939, 116.779, 123.68), channels=Channels.BGR, resize=Resize.SQUASH
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptOptions:
    """What is known of the classifier; what a preset or the file says need not be given.

    Attributes:
        preset: a name of `PRESETS`; the other options go before it.
        labels: text file, one class name a line; None takes the names that the file carries.
        image_size: (height, width), where the graph leaves them open.
        values: what the network wants before `mean` and `std`.
        mean, std: one number, or one a channel in the network's channel order: (value - mean) / std.
        channels: the network's channel order.
        layout: "nchw" or "nhwc", where the graph does not show it.
        output: what the graph gives; None reads a last Softmax.
        resize: how images are brought to size.
        crop_fraction: with `crop`, the share of the centre's sides that is used, as timm's `crop_pct`.
        runtime: what the new file is run in to compare it, as `toolkit infer --runtime` takes it.
        out: None is `NAME.adopted.onnx` beside the file.
        force: replace a file that toolkit did not write.
    """

    preset: str | None = None
    labels: Path | None = None
    image_size: tuple[int, int] | None = None
    values: Values | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: Channels | None = None
    layout: TensorLayout | None = None
    output: Output | None = None
    resize: Resize | None = None
    crop_fraction: float = 1.0
    runtime: Runtime = Runtime.AUTO
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise UsageError(f"no preset {self.preset!r}", hint=f"choose one of {', '.join(PRESETS)}")
        coerce(self, values=Values, channels=Channels, layout=TensorLayout, output=Output, resize=Resize)
        coerce(self, runtime=Runtime, labels=Path, out=Path)
        if not 0 < self.crop_fraction <= 1:
            raise UsageError(
                f"--crop-fraction {self.crop_fraction}: expected a number above 0, up to 1",
                hint="--crop-fraction 0.875",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptResult:
    """The new file.

    Attributes:
        path: where it is.
        contract: what it carries.
        difference: largest difference of a probability to the original, on `n_images`.
        agreement: share of the same top-1.
        notes: what to know about the new file, in sentences without a full stop.
    """

    path: Path
    contract: Contract
    n_images: int
    difference: float
    agreement: float
    notes: tuple[str, ...] = ()


def adopt(path: Path, options: AdoptOptions) -> AdoptResult:
    """Write the classifier at `path` as a file that keeps the contract.

    Raises:
        ModelError: no ONNX file, damaged, with data outside its folder, or no classifier of images.
        UsageError: something about the classifier is neither in the file nor in the options.
        InputError: the file of labels is missing or damaged.
        MismatchError: the new file does not compute what the original computes; it was not kept.
    """
    target = options.out or path.with_name(f"{path.stem}.adopted.onnx")
    claim(target, has_contract, force=options.force)
    model = load_onnx(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY in metadata:
        raise UsageError(f"{path}: carries a contract already", hint=f"toolkit infer INPUT --model {path}")
    shapes = adoption_graph.shapes(model, path, options.layout)
    feeding = _feeding(options, shapes, model, path)
    labels = read_labels(options.labels) if options.labels else carried_labels(metadata, path)
    contract = Contract(
        labels=labels,
        preprocess=_preprocess(options, shapes, metadata, path),
        recipe=f"adopted: {path.name}",
        fingerprint=_fingerprint(model),
        quantization=shapes.numbers,
    )
    images = sample_images(contract.preprocess, N_IMAGES)
    original = Original(model, shapes, feeding, path)
    original.check_labels(images[: shapes.batch or 1], contract)

    def written(temporary: Path, contract: Contract) -> tuple[float, float]:
        """Write the new file; its (largest difference, top-1 agreement)."""
        adopted = adoption_graph.wrap(model, shapes, feeding, contract, path)
        embed(adopted, contract)
        temporary.write_bytes(adopted.SerializeToString())
        run = open_session(temporary, device="cpu", runtime=options.runtime, proving=True).run
        return compare(original, run, images)

    with lock(target), atomic_write(target) as temporary:
        try:
            difference, agreement = written(temporary, contract)
        except (ModelError, MismatchError):
            if not shapes.batch:
                raise
            contract = replace(contract, batch=shapes.batch)  # its graph names its batch in more than its reshapes
            difference, agreement = written(temporary, contract)
    return AdoptResult(
        path=target,
        contract=contract,
        n_images=len(images),
        difference=difference,
        agreement=agreement,
        notes=_notes(options, contract),
    )


def _notes(options: AdoptOptions, contract: Contract) -> tuple[str, ...]:
    notes = []
    if contract.batch:
        notes.append(f"its graph takes {contract.batch} images at a time and no other number; infer fills the last up")
    if options.preset == "imagenet":
        spec = contract.preprocess
        if spec.crop_fraction != 1:
            notes.append(
                f"toolkit crops {spec.crop_fraction:g} of the middle, as asked, and resizes bilinearly; timm resizes "
                "with bicubic filters for most networks, so a few answers near a border differ from timm's own"
            )
        else:
            how = "crops the middle of the shorter side" if spec.resize is Resize.CROP else "stretches"
            notes.append(
                f"toolkit {how} and resizes bilinearly; timm resizes with bicubic filters and crops seven eighths for "
                "most networks (--resize crop --crop-fraction 0.875), so a few answers near a border differ from "
                "timm's own"
            )
    return tuple(notes)


def _feeding(options: AdoptOptions, shapes: Shapes, model: onnx.ModelProto, path: Path) -> Feeding:
    preset = PRESETS.get(options.preset or "")
    values = options.values or (preset.values if preset else None)
    if values is None:
        raise UsageError(
            f"{path}: whether the network wants values 0..255, 0..1 or -1..1 is not in the file",
            hint=f"--values 0..1 --mean … --std …, or --preset {'|'.join(PRESETS)}",
        )
    output = options.output or (preset.output if preset else None) or adoption_graph.find_output(model)
    if output is None:
        raise UsageError(
            f"{path}: whether the network gives logits or probabilities cannot be read from its last operation",
            hint="--output logits or --output probabilities",
        )
    mean = options.mean if options.mean is not None else preset.mean if preset else (0.0,)
    std = options.std if options.std is not None else preset.std if preset else (1.0,)
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in (1, shapes.channels):
            raise UsageError(f"--{name} has {len(numbers)} numbers, the network has {shapes.channels} channels")
    if not all(np.isfinite(std)) or 0.0 in std or not all(np.isfinite(mean)):
        raise UsageError("--mean and --std must be numbers, and no std may be 0")
    channels = options.channels or (preset.channels if preset else Channels.RGB)
    return Feeding(values=values, mean=mean, std=std, bgr=channels is Channels.BGR, logits=output is Output.LOGITS)


def _preprocess(options: AdoptOptions, shapes: Shapes, metadata: Mapping[str, str], path: Path) -> Preprocess:
    preset = PRESETS.get(options.preset or "")
    size = shapes.size or options.image_size or _carried_size(metadata)
    if size is None:
        raise UsageError(f"{path}: its height and width are open", hint="--image-size HxW, such as 224x224")
    if options.image_size and options.image_size != size:
        raise UsageError(
            f"{path}: takes {size[0]}x{size[1]}, --image-size says {options.image_size[0]}x{options.image_size[1]}"
        )
    colour = Colour.RGB if shapes.channels == 3 else Colour.GREY
    resize = options.resize or (preset.resize if preset else Resize.SQUASH)
    if options.crop_fraction != 1 and resize is not Resize.CROP:
        raise UsageError(
            f"--crop-fraction {options.crop_fraction:g} goes with cropping, found resize {resize}", hint="--resize crop"
        )
    try:
        return Preprocess(
            height=size[0], width=size[1], colour=colour, resize=resize, crop_fraction=options.crop_fraction
        )
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text) if len(text) < 1 << 20 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _carried_size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Ultralytics' `imgsz`, such as "[224, 224]"."""
    size = _literal(metadata.get("imgsz", ""))
    if isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size):
        return size[0], size[1]
    return None


def carried_labels(metadata: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """Class names in a file's metadata: Ultralytics' `names`, or one a line in `labels` or `classes`.

    >>> carried_labels({"names": "{0: 'cat', 1: 'dog'}"}, Path("yolo.onnx"))
    ('cat', 'dog')

    Raises:
        UsageError: there are none.
    """
    names = _literal(metadata.get("names", ""))
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        return tuple(str(names[at]) for at in range(len(names)))
    if isinstance(names, list):
        return tuple(map(str, names))
    for key in ("labels", "classes", "class_names"):
        if lines := metadata.get(key, "").strip().splitlines():
            return tuple(line.strip() for line in lines)
    raise UsageError(
        f"{path}: carries no class names", hint="--labels FILE, one class name a line, in the order of the outputs"
    )


def _fingerprint(model: onnx.ModelProto) -> str:
    """Of all weights, those in constants and inner graphs too."""
    digest = hashlib.sha256()
    for tensor in stored_tensors(model.graph):
        digest.update(tensor.SerializeToString(deterministic=True))
    return digest.hexdigest()


def sample_images(spec: Preprocess, n: int) -> npt.NDArray[np.uint8]:
    """`n` real images uint8 (n, H, W, C) from those that ship with the package.

    They are grey: for a network with colours each channel is another image, so that channels cannot be exchanged
    unseen.
    """
    packed = resources.files("toolkit").joinpath("_demo", "fashion.zip").read_bytes()
    grey = Preprocess(height=spec.height, width=spec.width, colour=Colour.GREY, resize=Resize.SQUASH)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        step = len(names) // (n + spec.channels)
        planes = [decode(archive.read(names[at * step]), grey) for at in range(n + spec.channels)]
    return np.stack([np.concatenate(planes[at : at + spec.channels], axis=2) for at in range(n)])
