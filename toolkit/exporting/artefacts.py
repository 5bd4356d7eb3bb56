"""Model -> files: each is written beside its place, proven on real images, and only then put there."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from toolkit.core.errors import InputError, MismatchError, ModelError
from toolkit.core.files import write_json
from toolkit.core.ownership import json_object
from toolkit.core.progress import SILENT, Progress
from toolkit.exporting.export_folder import REPORT_JSON, export_folder
from toolkit.exporting.formats import quantize_onnx, to_onnx, to_savedmodel, to_tflite
from toolkit.exporting.formats.tflite_int8.quantize import to_int8
from toolkit.exporting.kit import KIT, write_kit
from toolkit.exporting.load import ExportSource, open_model
from toolkit.exporting.options import ExportOptions, Format, Quantize
from toolkit.exporting.results import Artefact, ExportResult, Verification
from toolkit.exporting.sample_images import SampleImages, load_sample_images
from toolkit.exporting.serving_graph import Images
from toolkit.exporting.verification import Proof, not_run, open_runner, verify
from toolkit.model_files.contract import Contract
from toolkit.model_files.contract_io import read_contract
from toolkit.model_files.inspect import fingerprint_files

N_VERIFICATION: Final = 512
MIN_VERIFICATION: Final = 100
N_CALIBRATION: Final = 200
_LARGEST: Final = 1e30  # weight that int8 is tried with; the converters end on larger ones

_Write = Callable[[Path, Contract], None]
"""Writes a file with a contract."""


def write_artefacts(model: Path, options: ExportOptions, progress: Progress = SILENT) -> ExportResult:
    """Write the model in the formats that `options` names; a file is kept when it computes what the model computes.

    Args:
        model: a bundle, or a `.keras` file (then `options.labels` and `options.data` are needed).
        options: what to write.
        progress: hears of each step.

    Returns:
        What was written and how it compares.

    Raises:
        ModelError: the model is missing, damaged or cannot be converted.
        UsageError: options that do not go together, or are missing.
        InputError: there are no images to verify with; or a file that no export wrote is in the way.
        MismatchError: a file misses its limits. No file is kept; what was there stays.
        LockedError: another run is writing the folder.
    """
    progress.start("loading the model", None, "steps")
    source = open_model(model, options)
    progress.finish()
    out = options.out or source.out
    with export_folder(out, [artefact_name(kind, options) for kind in options.formats], kit=options.kit) as folder:
        proof = _proof(source, options, progress)
        artefacts = []
        for kind in options.formats:
            progress.start(f"exporting {_title(kind, options)}", None, "steps")
            artefact = _export_one(source, kind, options, proof, folder)
            progress.finish()
            if artefact.verification.misses:
                progress.warn(f"{artefact.path}: kept though {'; '.join(artefact.verification.misses)}")
            artefacts.append(artefact)
        _write_report(folder / REPORT_JSON, artefacts, model, out)
        if options.kit:
            write_kit(folder / KIT, artefacts, proof)
    placed = tuple(replace(artefact, path=out / artefact.path.name) for artefact in artefacts)
    kit_path = out / KIT if options.kit else None
    return ExportResult(artefacts=placed, report_path=out / REPORT_JSON, kit_path=kit_path)


def artefact_name(kind: Format, options: ExportOptions) -> str:
    """The file's name: `model.onnx`, `model.int8.tflite`, `saved_model`."""
    if kind is Format.SAVEDMODEL:
        return "saved_model"
    return f"model.{options.quantize}.{kind}" if options.quantize else f"model.{kind}"


def _title(kind: Format, options: ExportOptions) -> str:
    name = {Format.ONNX: "ONNX", Format.TFLITE: "TFLite", Format.SAVEDMODEL: "SavedModel"}[kind]
    long = ", which takes a minute or two" if options.quantize is Quantize.INT8 else ""
    return f"{name} {options.quantize or 'float32'}{long}"


def _proof(source: ExportSource, options: ExportOptions, progress: Progress) -> Proof:
    """Decode the images, and compute what is expected of every file."""
    progress.start("reading images to verify with", None, "files")
    contract = source.network.contract
    samples = load_sample_images(source.verification, contract, N_VERIFICATION)
    if not len(samples) and source.bundle is not None and options.data is None:
        images, _ = source.bundle.check()
        samples = SampleImages(images_u8=images, truth=np.full(len(images), -1), paths=("check.npz",) * len(images))
        progress.warn(
            f"the validation images are gone; verifying with the {len(images)} in check.npz (--data names others)"
        )
    if not len(samples):
        raise InputError(
            f"{options.data or source.out}: no readable image to verify with", hint="--data DIR with class folders"
        )
    if len(samples) < MIN_VERIFICATION:
        progress.warn(f"verifying with {len(samples)} images only; {MIN_VERIFICATION} or more prove more")
    expected = source.network.predict(samples.images_u8)
    progress.finish()
    return Proof(samples=samples, expected=expected, batch=source.network.batch)


def _export_one(source: ExportSource, kind: Format, options: ExportOptions, proof: Proof, folder: Path) -> Artefact:
    contract = replace(source.network.contract, quantization=str(options.quantize or "float32"))
    target = folder / artefact_name(kind, options)
    tried: list[tuple[_Write, Verification]] = []
    for last_resort, write in _writers(source, kind, options):
        if last_resort and any(not found.misses for _, found in tried):
            break
        tried.append((write, _verified(write, target, contract, proof, options, kind)))
    write, found = max(tried, key=lambda pair: _rank(pair[1]))
    if write is not tried[-1][0]:
        write(target, contract)
    if found.misses:
        if not options.force:
            raise _mismatch(target, found)
        contract = replace(contract, miss="; ".join(found.misses))
        write(target, contract)
    size, digest = fingerprint_files(target)
    return Artefact(path=target, format=kind, size_bytes=size, sha256=digest, contract=contract, verification=found)


def _verified(
    write: _Write, target: Path, contract: Contract, proof: Proof, options: ExportOptions, kind: Format
) -> Verification:
    write(target, contract)
    try:
        found = verify(open_runner(target, kind, options.runtime), proof, options.quantize)
    except ModelError as error:  # it does not even run
        return not_run(str(error).removeprefix(f"{target}: "), proof, options.quantize)
    if read_contract(target) != contract:
        found = replace(found, misses=(*found.misses, "the contract in it is not the model's"))
    return found


def _rank(found: Verification) -> tuple[int, float, float]:
    """More is better: limits that hold, agreement, accuracy."""
    return -len(found.misses), found.agreement, found.accuracy[0] if found.accuracy else 0.0


def _writers(source: ExportSource, kind: Format, options: ExportOptions) -> Iterator[tuple[bool, _Write]]:
    """Ways to convert the model, each with whether it is only for one that no other way suits."""
    calibration = _calibration(source) if options.quantize is Quantize.INT8 else None
    if calibration is not None and not all((np.abs(w) < _LARGEST).all() for w in source.network.layers.get_weights()):
        name = source.network.contract.recipe or "the network"
        raise ModelError(
            f"{name}: it has weights that are not finite or beyond {_LARGEST:g}, which int8 has no numbers for",
            hint="train it again, with a smaller learning_rate if it diverged",
        )
    if kind is Format.ONNX:
        model = to_onnx.convert(source.network, options.opset)
        if calibration is not None:
            for _, candidate in quantize_onnx.to_int8(model, calibration):
                yield False, partial(to_onnx.save, candidate)
            return
        whole = quantize_onnx.to_float16(model) if options.quantize is Quantize.FLOAT16 else model
        yield False, partial(to_onnx.save, whole)
    elif kind is Format.SAVEDMODEL:
        yield False, partial(to_savedmodel.save, source.network)
    else:
        if calibration is not None:
            for last_resort, flat in to_int8(source.network, calibration):
                yield last_resort, partial(to_tflite.save, flat)
            return
        yield False, partial(to_tflite.save, to_tflite.convert(source.network, options.quantize))


def _calibration(source: ExportSource) -> Images:
    """SampleImages that the network was trained on: the ranges of an int8 file are theirs."""
    samples = load_sample_images(source.calibration, source.network.contract, N_CALIBRATION)
    if not len(samples):
        raise InputError(
            f"{source.out}: int8 is calibrated on training images, and none of them is there any more",
            hint="put the images back where they were, or use --quantize float16, which needs none",
        )
    return samples.images_u8


def _mismatch(target: Path, found: Verification) -> MismatchError:
    return MismatchError(
        f"{target.name}: does not compute what the model computes, so it was not kept: {'; '.join(found.misses)} "
        f"({found.n_images} images)",
        hint="--force keeps it all the same, and writes the miss into it",
    )


def _write_report(path: Path, artefacts: list[Artefact], model: Path, out: Path) -> None:
    """`export.json`: one entry per file; entries of other files that are still in the folder `out` are kept."""
    known = json_object(out / REPORT_JSON).get("artefacts", {})
    known = known if isinstance(known, dict) else {}
    entries: dict[str, Any] = {name: entry for name, entry in known.items() if (out / name).exists()}
    entries |= {artefact.path.name: _entry(artefact) for artefact in artefacts}
    fields = {"schema": 1, "model": str(model), "versions": _versions(), "artefacts": dict(sorted(entries.items()))}
    write_json(path, fields)


def _entry(artefact: Artefact) -> dict[str, Any]:
    found = artefact.verification
    accuracy, expected = found.accuracy or (None, None)
    return {
        "format": str(artefact.format),
        "size_bytes": artefact.size_bytes,
        "sha256": artefact.sha256,
        "contract": artefact.contract.to_dict(),
        "n_pictures": found.n_images,
        "largest_difference": found.difference if math.isfinite(found.difference) else None,
        "top1_agreement": found.agreement,
        "accuracy": accuracy,
        "keras_accuracy": expected,
        "misses": list(found.misses),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("toolkit-images", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
