"""Which file runs where a user names a model: the file itself, or the one in a bundle."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from toolkit.core.errors import ModelError
from toolkit.core.text import printable
from toolkit.model_files.imagenet import NAME, imagenet_file, is_imagenet

BUNDLE_FILE: Final = "bundle.json"
ONNX_FILE: Final = "model.onnx"
SUFFIXES: Final = (".onnx", ".tflite")


def resolve_model(path: Path) -> Path:
    """The model file that `path` names: itself, the `model.onnx` of a bundle, or that of the name `imagenet`.

    Raises:
        ModelError: nothing there, or nothing that can be run.
        MachineError: `imagenet` cannot be made here.
    """
    if is_imagenet(path):
        return imagenet_file()
    shown = printable(str(path))
    if path.is_dir():
        if (path / ONNX_FILE).is_file():
            return path / ONNX_FILE
        if (path / BUNDLE_FILE).is_file():
            raise ModelError(f"{shown}: this bundle has no {ONNX_FILE} yet", hint=f"toolkit export {shown} --onnx")
        raise ModelError(
            f"{shown}: expected a bundle or a model file, found a folder without {BUNDLE_FILE}",
            hint="give --model a bundle made by toolkit train, or a .onnx or .tflite file",
        )
    if not path.exists():
        raise ModelError(
            f"{shown}: no model there{_meant(path)}",
            hint="toolkit train DATA and toolkit export model --onnx make one of your own classes; "
            "--model imagenet knows 1,000 everyday things",
        )
    if path.suffix.lower() == ".keras":
        raise ModelError(f"{shown}: a .keras file is not run directly", hint=f"toolkit export {shown} --onnx")
    if path.name == BUNDLE_FILE:
        folder = printable(str(path.parent))
        raise ModelError(f"{shown}: expected a bundle's folder, found a file of it", hint=f"--model {folder}")
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(f"{shown}: expected a bundle, a .onnx or a .tflite file", hint="see toolkit export --help")
    return path


def _meant(path: Path) -> str:
    """`; did you mean 'imagenet'?` where that name, or a model beside `path`, is called much like it; else ""."""
    from difflib import get_close_matches

    known = [NAME] if path == Path(path.name) else []
    with suppress(OSError):
        beside = list(path.parent.iterdir())
        known += [found.name for found in beside if found.suffix in SUFFIXES or (found / BUNDLE_FILE).is_file()]
    near = get_close_matches(path.name, known, 1)
    return f"; did you mean {printable(str(path.with_name(near[0])))!r}?" if near else ""
