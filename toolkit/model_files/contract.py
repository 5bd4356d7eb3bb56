"""What a model file promises, whatever its format.

    uint8 batch (N, H, W, C), values 0..255, RGB (C=3) or grey (C=1)
        ->  float32 probabilities (N, K), each row sums to 1 (int8 files: within 0.01 or K/512)

The promise travels inside the file as JSON: ONNX `metadata_props["toolkit.contract"]`, a TFLite metadata entry,
`assets/contract.json` in a SavedModel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import ModelError
from toolkit.core.parse import parse_json
from toolkit.core.text import printable
from toolkit.images.spec import Colour, Preprocess, Resize

SCHEMA: Final = 1
METADATA_KEY: Final = "toolkit.contract"
LABELS_KEY: Final = "labels"
MAX_BATCH: Final = 1 << 16


class NoContractError(ModelError):
    """A model file says nothing about its classes and the images that it wants."""

    def __init__(self, path: Path) -> None:
        shown = printable(str(path))
        super().__init__(
            f"{shown}: this file carries no toolkit contract (labels, input size, resize policy)",
            hint=f"toolkit adopt {shown} --labels FILE --image-size HxW   (for an ONNX classifier from elsewhere)",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """The promise of one model file.

    Attributes:
        labels: class names in the order of the output's columns; K = len(labels) >= 2, all different.
        preprocess: the input's height, width, colour and resize policy.
        recipe: name of the recipe the network was trained from, or where an adopted file came from.
        fingerprint: SHA-256 (hex) of the trained weights; the same for every format of one network.
        quantization: "float32", "float16" or "int8".
        batch: the only batch size that the graph takes; 0 where it takes any.
        miss: why the file failed verification, where it was kept all the same (`--force`); "" otherwise.
    """

    labels: tuple[str, ...]
    preprocess: Preprocess
    recipe: str = ""
    fingerprint: str = ""
    quantization: str = "float32"
    batch: int = 0
    miss: str = ""

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ModelError(f"a contract needs at least two class names, all different; found {list(self.labels)}")

    def to_json(self) -> str:
        """The JSON that travels in the file; keys sorted, so that equal contracts are equal bytes."""
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        spec = self.preprocess
        fixed = {"batch": self.batch} if self.batch else {}
        cropped = {"crop_fraction": spec.crop_fraction} if spec.crop_fraction != 1 else {}
        return {
            **fixed,
            **cropped,
            "schema": SCHEMA,
            "labels": list(self.labels),
            "height": spec.height,
            "width": spec.width,
            "colour": spec.colour,
            "resize": spec.resize,
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
            "quantization": self.quantization,
            "miss": self.miss,
        }

    @classmethod
    def from_json(cls, text: str, *, source: str = "contract") -> Contract:
        """Read a contract back; `source` names the file in the errors.

        Raises:
            ModelError: not JSON, another schema, or a field missing or of the wrong type.
        """
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise ModelError(f"{source}: the contract is not JSON ({error})") from None
        if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
            found = fields.get("schema") if isinstance(fields, dict) else type(fields).__name__
            raise ModelError(
                f"{source}: contract schema {found!r}, this version of toolkit reads schema {SCHEMA}",
                hint="export the model again with this version, or install the version that wrote it",
            )
        return cls.from_dict(fields, source=source)

    @classmethod
    def from_dict(cls, fields: dict[str, Any], *, source: str = "contract") -> Contract:
        """The contract in `fields`, each checked for presence, type and range."""
        labels = fields.get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ModelError(f"{source}: 'labels' must be a list of class names, found {labels!r:.80}")
        texts = {name: fields.get(name, "") for name in ("recipe", "fingerprint", "quantization", "miss")}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise ModelError(f"{source}: {name!r} must be text, found {value!r:.80}")
        batch = fields.get("batch", 0)
        if type(batch) is not int or not 0 <= batch <= MAX_BATCH:
            raise ModelError(f"{source}: 'batch' must be an integer from 0 to {MAX_BATCH}, found {batch!r:.80}")
        return cls(labels=tuple(labels), preprocess=_preprocess(fields, source), batch=batch, **texts)


def _preprocess(fields: dict[str, Any], source: str) -> Preprocess:
    height, width = fields.get("height"), fields.get("width")
    if type(height) is not int or type(width) is not int:
        raise ModelError(f"{source}: 'height' and 'width' must be integers, found {height!r:.80} and {width!r:.80}")
    fraction = fields.get("crop_fraction", 1.0)
    if type(fraction) not in (int, float):
        raise ModelError(f"{source}: 'crop_fraction' must be a number, found {fraction!r:.80}")
    try:
        colour, resize = Colour(str(fields.get("colour"))), Resize(str(fields.get("resize")))
        return Preprocess(height=height, width=width, colour=colour, resize=resize, crop_fraction=fraction)
    except ValueError as error:
        raise ModelError(f"{source}: {error}") from None
