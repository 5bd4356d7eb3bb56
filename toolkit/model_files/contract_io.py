"""The contract in each kind of model file, read without TensorFlow and without a runtime.

ONNX         metadata_props["toolkit.contract"], metadata_props["labels"]
TFLite       metadata entry "toolkit.contract"; `labels.txt` packed as an associated file
SavedModel   assets/contract.json, assets/labels.txt
bundle       bundle.json
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from toolkit.core.errors import ModelError
from toolkit.core.files import regular
from toolkit.core.text import first_line
from toolkit.model_files import flatbuffer_reader as flatbuffer
from toolkit.model_files.contract import METADATA_KEY, Contract, NoContractError

if TYPE_CHECKING:
    import onnx

Format = Literal["onnx", "tflite", "savedmodel", "bundle"]
TFLITE_IDENTIFIER: Final = b"TFL3"
SAVED_MODEL_PB: Final = "saved_model.pb"
CONTRACT_ASSET: Final = "contract.json"
LABELS_ASSET: Final = "labels.txt"
MAX_CONTRACT_BYTES: Final = 16 << 20
MAX_ONNX_BYTES: Final = (2 << 30) - 1
"""No protobuf message is larger; the weights of a larger model lie in files of their own."""

# Places of fields in TFLite's schema.fbs.
_TFLITE_BUFFERS, _TFLITE_METADATA = 4, 6


def read_contract(path: Path) -> Contract:
    """The contract that the model file (or SavedModel, or bundle) at `path` carries.

    Raises:
        ModelError: missing, no model file, damaged, without a contract, or with one of another schema.
    """
    kind = file_format(path)
    if kind == "bundle":
        from toolkit.model_files.bundle import load_bundle

        return load_bundle(path).contract
    if kind == "savedmodel":
        return _savedmodel_contract(path)
    text = _onnx_contract(path) if kind == "onnx" else tflite_contract(mapped(path), path)
    return parse_contract(text, path)


def has_contract(path: Path) -> bool:
    """Whether the model at `path` carries a contract: whether it is one that we wrote."""
    try:
        read_contract(path)
    except ModelError:
        return False
    return True


def parse_contract(text: str | None, path: Path) -> Contract:
    """The contract in `text`; None is a file that carries none.

    Raises:
        NoContractError: `text` is None.
        ModelError: not a contract that this version reads.
    """
    if text is None:
        raise NoContractError(path)
    return Contract.from_json(text, source=str(path))


def file_format(path: Path) -> Format:
    """What kind of model lies at `path`.

    Raises:
        ModelError: nothing is there, or nothing that looks like a model.
    """
    if path.is_dir():
        if (path / "bundle.json").is_file():
            return "bundle"
        if (path / SAVED_MODEL_PB).is_file():
            return "savedmodel"
        raise ModelError(
            f"{path}: a folder with neither bundle.json (a bundle) nor {SAVED_MODEL_PB} (a SavedModel) in it",
            hint="toolkit train DATA writes a bundle",
        )
    if not path.exists():
        raise ModelError(f"{path}: expected a model, found nothing", hint="toolkit export MODEL --onnx writes one")
    try:
        with regular(path).open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", hint="check who may read it") from None
    if head[4:8] == TFLITE_IDENTIFIER:
        return "tflite"
    if path.suffix.lower() == ".onnx":
        return "onnx"
    raise ModelError(
        f"{path}: no model that toolkit reads ({_looks_like(head)})",
        hint="give a bundle, a SavedModel folder, an .onnx file or a .tflite file",
    )


def _looks_like(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head.startswith(b"PK"):
        return "a zip file, such as .keras"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return f"it begins with {head!r}"


def mapped(path: Path) -> memoryview:
    """The bytes of `path`, mapped into memory for as long as something refers to them.

    Raises:
        ModelError: the file is empty or cannot be read.
    """
    try:
        with regular(path).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", hint="check who may read it") from None
    except ValueError:
        raise ModelError(f"{path}: the file is empty", hint="copy or export it again") from None


def read_onnx(path: Path) -> onnx.ModelProto:
    """The ONNX file at `path` as it is: weights in other files are not read, and nothing of it is checked.

    Raises:
        ModelError: empty, too large, no ONNX file, or a damaged one.
    """
    import onnx  # 0.1 s and 20 MB, which `infer` does without: onnxruntime gives it the contract
    from google.protobuf.message import DecodeError

    try:
        if not 0 < (size := path.stat().st_size) <= MAX_ONNX_BYTES:
            found = f"{size:,} bytes are more than an ONNX file has" if size else "the file is empty"
            raise ModelError(f"{path}: {found}", hint="copy or export it again")
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", hint="check who may read it") from None
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{path}: no ONNX file, or a damaged one ({first_line(error)})", hint="copy or export it again"
        ) from None
    if not model.HasField("graph"):
        raise ModelError(f"{path}: no ONNX file (there is no graph in it)", hint="copy or export it again")
    return model


def onnx_text(value: str | bytes) -> str:
    """A string of an ONNX file; where it is not UTF-8, protobuf gives its bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def _onnx_contract(path: Path) -> str | None:
    entries = read_onnx(path).metadata_props
    return next((onnx_text(entry.value) for entry in entries if entry.key == METADATA_KEY), None)


def tflite_contract(data: memoryview, path: Path) -> str | None:
    """The contract's JSON in a TFLite file, None where it carries none.

    Raises:
        ModelError: no TFLite file, or a damaged one.
    """
    try:
        octets = tflite_metadata(data, METADATA_KEY)
    except flatbuffer.FlatbufferError as error:
        raise ModelError(
            f"{path}: no TFLite file, or a damaged one ({error})", hint="copy or export it again"
        ) from None
    return None if octets is None else bytes(octets).decode("utf-8", "backslashreplace")


def tflite_metadata(data: memoryview, name: str) -> memoryview | None:
    """The bytes of the metadata entry `name` of a TFLite file, None where there is none.

    Raises:
        FlatbufferError: damaged.
    """
    model = flatbuffer.root(data, TFLITE_IDENTIFIER)
    for entry in model.tables(_TFLITE_METADATA):
        if entry.text(0) == name:
            buffers = model.tables(_TFLITE_BUFFERS)
            index = entry.integer(1)
            if index >= len(buffers):
                raise flatbuffer.FlatbufferError(f"metadata {name!r} points to buffer {index} of {len(buffers)}")
            return buffers[index].octets(0)
    return None


def _savedmodel_contract(path: Path) -> Contract:
    source = path / "assets" / CONTRACT_ASSET
    if not source.is_file():
        return parse_contract(None, path)
    if source.stat().st_size > MAX_CONTRACT_BYTES:
        raise ModelError(f"{source}: larger than any contract is", hint="export the model again")
    try:
        return Contract.from_json(regular(source).read_text(encoding="utf-8"), source=str(source))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{source}: cannot be read ({error})", hint="export the model again") from None


def labels_text(contract: Contract) -> str:
    """`labels.txt`: one class name a line, in the order of the columns; a line break within a name becomes a space."""
    return "".join(" ".join(label.splitlines()) + "\n" for label in contract.labels)
