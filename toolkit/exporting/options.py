"""What an export is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from toolkit.core.coerce import coerce
from toolkit.core.errors import UsageError
from toolkit.images.spec import Resize
from toolkit.model_files.conventions import Output, Values
from toolkit.sessions.backend import Runtime

DEFAULT_OPSET: Final = 18


class Format(StrEnum):
    """A kind of model file."""

    ONNX = "onnx"
    TFLITE = "tflite"
    SAVEDMODEL = "savedmodel"


class Quantize(StrEnum):
    """How a file's numbers are made smaller."""

    FLOAT16 = "float16"
    INT8 = "int8"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What to write, and how.

    Attributes:
        onnx, tflite, savedmodel: the formats to write; at least one.
        quantize: None for float32.
        data: class folders with images to verify with (and to calibrate with, where the model is a `.keras` file);
            None takes the bundle's own.
        out: the folder that the files go to; None is the bundle, or the folder of the `.keras` file.
        force: keep a file that misses its limits, and say so in its contract.
        opset: ONNX operator set.
        runtime: what an ONNX file is verified with, as `toolkit infer --runtime` takes it.
        kit: also write a folder with the model, sample images and minimal clients.
        labels: for a `.keras` file: a text file with one class name a line, in the order of the outputs.
        values, output: for a `.keras` file: what its first layer wants and its last layer gives, where the network
            does not say so itself.
        resize: for a `.keras` file: how images are brought to the input's size.
    """

    onnx: bool = False
    tflite: bool = False
    savedmodel: bool = False
    quantize: Quantize | None = None
    data: Path | None = None
    out: Path | None = None
    force: bool = False
    opset: int = DEFAULT_OPSET
    runtime: Runtime = Runtime.AUTO
    kit: bool = False
    labels: Path | None = None
    values: Values | None = None
    output: Output | None = None
    resize: Resize = Resize.SQUASH

    def __post_init__(self) -> None:
        coerce(
            self,
            quantize=Quantize,
            runtime=Runtime,
            values=Values,
            output=Output,
            resize=Resize,
            data=Path,
            out=Path,
            labels=Path,
        )
        if not self.formats:
            raise UsageError("no format chosen", hint="add --onnx, --tflite or --savedmodel")
        if self.kit and not (self.onnx or self.tflite):
            raise UsageError("the kit's clients run ONNX or TFLite files", hint="add --onnx or --tflite")
        if self.savedmodel and self.quantize:
            raise UsageError(
                f"a SavedModel is not written in {self.quantize}", hint="use --onnx or --tflite with --quantize"
            )

    @property
    def formats(self) -> tuple[Format, ...]:
        """The chosen formats."""
        chosen = {Format.ONNX: self.onnx, Format.TFLITE: self.tflite, Format.SAVEDMODEL: self.savedmodel}
        return tuple(kind for kind, wanted in chosen.items() if wanted)
