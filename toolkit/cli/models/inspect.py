"""`toolkit inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import Verbose

if TYPE_CHECKING:
    from toolkit.model_files.inspect import Inspection


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx or .tflite file, a SavedModel, a bundle.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.", show_default=False)] = False,
    verbose: Verbose = False,
) -> None:
    """Print what a model file promises: its classes, the images it wants, its size and operations."""
    from toolkit.model_files.inspect import inspect as look

    found = look(model)
    if as_json:
        console.out(json.dumps(found.to_dict(), indent=2, ensure_ascii=False), document=True)
    else:
        _print_inspection(found)


def _print_inspection(found: Inspection) -> None:
    contract = found.contract
    rows = [("file", str(found.path)), ("format", found.format), ("size", f"{found.size_bytes:,} bytes")]
    rows.append(("SHA-256", found.sha256))
    if contract:
        spec = contract.preprocess
        rows += [
            ("recipe", contract.recipe or "-"),
            ("input", f"uint8 (N, {spec.height}, {spec.width}, {spec.channels}), {spec.colour}, 0..255"),
            ("resize", f"{spec.resize}, {spec.crop_fraction:g} of it" if spec.crop_fraction != 1 else str(spec.resize)),
            ("output", f"float32 (N, {len(contract.labels)}), probabilities"),
            ("numbers", contract.quantization),
            ("weights of", contract.fingerprint or "-"),
        ]
        if contract.miss:
            rows.append(("MISS", contract.miss))
    else:
        rows.append(("contract", "none: infer cannot use this file; see toolkit adopt"))
    if found.weights:
        rows.append(("weights", ", ".join(f"{n:,} {name}" for name, n in found.weights.items())))
    if found.operations:
        rows.append(("layers", f"{found.layers} operations with weights"))
        rows.append(("operations", ", ".join(f"{n} {name}" for name, n in found.operations.items())))
    for name, value in rows:
        console.out(f"{name:<12}{value}")
    for at, label in enumerate(contract.labels if contract else ()):
        console.out(f"{'classes' if at == 0 else '':<12}{at:>4}  {label}")
