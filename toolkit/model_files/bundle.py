"""The model folder: what `train` leaves behind, and how every later step reads it.

    model.keras      the network with its best weights; input: values 0..255, scaling inside
    bundle.json      contract, settings, data counts, metrics, versions; written last
    recipe.toml      the recipe as it was used
    data.csv         every source file: path, label, subset, and why it was left out
    check.npz        decoded validation images with the network's own probabilities
    history.csv, summary.txt, last.weights.h5, report and confusion, plots

A folder without `bundle.json` is not a bundle.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from toolkit.core.errors import ModelError
from toolkit.core.files import atomic_write, regular, write_csv, write_json
from toolkit.core.parse import parse_json
from toolkit.core.text import printable, with_formula
from toolkit.model_files.contract import Contract

SCHEMA: Final = 1
BUNDLE_JSON: Final = "bundle.json"
MODEL_KERAS: Final = "model.keras"
RECIPE_TOML: Final = "recipe.toml"
DATA_CSV: Final = "data.csv"
CHECK_NPZ: Final = "check.npz"
HISTORY_CSV: Final = "history.csv"
SUMMARY_TXT: Final = "summary.txt"
LAST_WEIGHTS: Final = "last.weights.h5"
REPORT_CSV: Final = "report.csv"
CONFUSION_CSV: Final = "confusion.csv"

DATA_COLUMNS: Final = ("path", "label", "subset", "reason", "sha256")
Subset = Literal["train", "validation"]
LEFT_OUT: Final = "left_out"


@dataclass(frozen=True, slots=True)
class LabeledPath:
    """An image file and the class it was trained or validated as. The file may be gone by now."""

    path: Path
    label: str


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row of `data.csv`: a source file relative to the data's root, and where it went.

    Attributes:
        path: relative to the root, forward slashes.
        label: class name.
        subset: "train", "validation" or "left_out".
        reason: why it was left out; else "".
        sha256: of its bytes, hex; "" where it could not be read, or where an older version wrote the row.
    """

    path: str
    label: str
    subset: str
    reason: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A finished bundle, as `bundle.json` describes it.

    Attributes:
        path: the folder.
        contract: class names, input and fingerprint; the same that exported files carry.
        recipe_name: the recipe that was trained.
        n_parameters: trainable and other weights of the network, in single values.
        output: what the network in `model.keras` gives: "logits", "softmax", or "sigmoid" (one unit for two classes).
        training: the settings of the training (seed, epochs, batch size, ...).
        data: `root` (the data's folder at training time), counts per class and subset, fingerprint of the data.
        metrics: metrics on the validation subset, such as `accuracy` and `loss`.
        versions: packages that trained it.
    """

    path: Path
    contract: Contract
    recipe_name: str
    n_parameters: int
    output: str = "softmax"
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def keras_path(self) -> Path:
        """The network with its best weights."""
        return self.path / MODEL_KERAS

    def check(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Decoded validation images and what the network answered when it was trained.

        Returns:
            images_u8 (N, H, W, C), values 0..255; probabilities float32 (N, K), K = len(contract.labels).

        Raises:
            ModelError: `check.npz` is missing, damaged, or does not fit the contract.
        """
        path = self.path / CHECK_NPZ
        try:
            with regular(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                images, probabilities = arrays["images"], arrays["probabilities"]
        except FileNotFoundError:
            raise _broken(path, "missing") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise _broken(path, f"not readable ({error})") from None
        shape = self.contract.preprocess.shape
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise _broken(path, f"holds {images.dtype} images of shape {images.shape[1:]}, expected uint8 {shape}")
        if probabilities.shape != (len(images), len(self.contract.labels)):
            raise _broken(path, f"probabilities of shape {probabilities.shape} for {len(images)} images")
        return images, probabilities.astype(np.float32, copy=False)

    def samples(self, subset: Subset) -> list[LabeledPath]:
        """The files of one subset, in the order in which they were trained on; whether they still exist is not asked.

        Raises:
            ModelError: `data.csv` is missing or damaged.
        """
        root = Path(str(self.data.get("root", "")))
        return [LabeledPath(root / row.path, row.label) for row in self.rows() if row.subset == subset]

    def rows(self) -> list[DataRow]:
        """All rows of `data.csv`, the left-out files included.

        Raises:
            ModelError: `data.csv` is missing or damaged.
        """
        path = self.path / DATA_CSV
        try:
            with regular(path).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                reader = csv.reader(file)
                if tuple(next(reader, ())) not in (DATA_COLUMNS, DATA_COLUMNS[:4]):
                    raise _broken(path, f"its columns are not {','.join(DATA_COLUMNS)}")
                rows = [DataRow(*map(with_formula, row)) for row in reader]
        except FileNotFoundError:
            raise _broken(path, "missing") from None
        except (TypeError, csv.Error) as error:
            raise _broken(path, f"damaged ({error})") from None
        if outside := next((row for row in rows if _leads_outside(row.path)), None):
            raise _broken(path, f"names a file outside the folder of the data: {printable(outside.path)}")
        return rows


def _leads_outside(path: str) -> bool:
    return os.path.isabs(path) or ".." in path.replace("\\", "/").split("/")


def load_bundle(path: Path) -> Bundle:
    """Read the bundle in the folder `path`. TensorFlow is not needed.

    Raises:
        ModelError: no such folder, no `bundle.json` in it, or one of another schema or damaged.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise ModelError(
            f"{path}: expected a bundle (the folder that `toolkit train` writes), found {found}",
            hint="toolkit train DATA" + ("" if str(path) == "model" else f" --out {path}"),
        )
    source = path / BUNDLE_JSON
    try:
        text = regular(source).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelError(
            f"{path}: not a bundle, there is no {BUNDLE_JSON} in it (it is written when training is finished)",
            hint="give the folder that toolkit train wrote, such as model",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{source}: cannot be read ({error})") from None
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise _broken(source, f"not JSON ({error})") from None
    if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
        found = repr(fields.get("schema"))[:80] if isinstance(fields, dict) else type(fields).__name__
        raise ModelError(
            f"{source}: bundle schema {found}, this version of toolkit reads schema {SCHEMA}",
            hint="train again with this version, or install the version that wrote it",
        )
    for name, kind in _FIELDS.items():
        if type(fields.get(name)) is not kind:
            raise _broken(source, f"{name!r} must be {kind.__name__}, found {fields.get(name)!r:.80}")
    contract = Contract.from_json(json.dumps(fields["contract"]), source=str(source))
    return Bundle(path=path, contract=contract, **{k: fields[k] for k in _FIELDS if k != "contract"})


_FIELDS: Final[dict[str, type]] = {
    "contract": dict,
    "recipe_name": str,
    "n_parameters": int,
    "output": str,
    "training": dict,
    "data": dict,
    "metrics": dict,
    "versions": dict,
}


def write_bundle_json(bundle: Bundle) -> None:
    """Write `bundle.json`, the last file of a bundle: from then on the folder is one."""
    fields = {name: getattr(bundle, name) for name in _FIELDS if name != "contract"}
    fields |= {"schema": SCHEMA, "contract": bundle.contract.to_dict()}
    write_json(bundle.path / BUNDLE_JSON, dict(sorted(fields.items())))


def write_data_csv(path: Path, rows: Iterable[DataRow]) -> None:
    """Write `data.csv`. Names that are not UTF-8 keep their bytes, so that the files can be found again.

    An apostrophe stands before what a spreadsheet would compute.
    """
    cells = ((row.path, row.label, row.subset, row.reason, row.sha256) for row in rows)
    write_csv(path, DATA_COLUMNS, cells, errors="surrogateescape", csv_safe=True)


def write_check(path: Path, images_u8: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]) -> None:
    """Write `check.npz`: images uint8 (N, H, W, C) and probabilities float32 (N, K)."""
    with atomic_write(path) as temporary:
        np.savez(temporary, images=images_u8, probabilities=probabilities.astype(np.float32, copy=False))


def weights_fingerprint(weights: Iterable[npt.NDArray[Any]]) -> str:
    """SHA-256 (hex) of a network's weights, in the network's order: shape, type and values of each.

    >>> weights_fingerprint([np.zeros((2, 2), np.float32)])[:8]
    'deccdf73'
    """
    digest = hashlib.sha256()
    for array in weights:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def data_fingerprint(rows: Iterable[DataRow]) -> str:
    """SHA-256 (hex) of which file is of which class and for what."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.path}\0{row.label}\0{row.subset}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _broken(path: Path, why: str) -> ModelError:
    return ModelError(f"{path}: {why}", hint="train the model again, or restore the bundle from a copy")
