"""Clean, split, train, export and label folders of images.

The public names are imported when they are first used, so that `import toolkit` costs nothing:

>>> import toolkit
>>> toolkit.ToolkitError.__module__
'toolkit.core.errors'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.adopting.adopt import AdoptOptions
    from toolkit.api import adopt, bench, check, embed, evaluate, export, infer, merge, split, train
    from toolkit.checking.check import CheckOptions
    from toolkit.core.errors import (
        GateError,
        InputError,
        LockedError,
        MachineError,
        MismatchError,
        ModelError,
        ToolkitError,
        UsageError,
    )
    from toolkit.evaluation.result import EvaluateOptions
    from toolkit.exporting.options import ExportOptions, Quantize
    from toolkit.images.spec import Colour, Preprocess, Resize
    from toolkit.inference.distributed.shard import Shard
    from toolkit.inference.inputs import Inputs
    from toolkit.inference.options import InferOptions, MaxFailures
    from toolkit.inference.predictor import Answer, Model, Predictions, load
    from toolkit.model_files.contract import NoContractError
    from toolkit.model_files.conventions import Channels, Output, TensorLayout, Values
    from toolkit.scaling.batch_labeller import BatchLabeller
    from toolkit.sessions.backend import Precision, Runtime
    from toolkit.splitting.mode import Mode
    from toolkit.splitting.options import SplitOptions
    from toolkit.training.options import TrainOptions

__version__ = "0.1.0"

__all__ = [
    "AdoptOptions",
    "Answer",
    "BatchLabeller",
    "Channels",
    "CheckOptions",
    "Colour",
    "EvaluateOptions",
    "ExportOptions",
    "GateError",
    "InferOptions",
    "InputError",
    "Inputs",
    "LockedError",
    "MachineError",
    "MaxFailures",
    "MismatchError",
    "Mode",
    "Model",
    "ModelError",
    "NoContractError",
    "Output",
    "Precision",
    "Predictions",
    "Preprocess",
    "Quantize",
    "Resize",
    "Runtime",
    "Shard",
    "SplitOptions",
    "TensorLayout",
    "ToolkitError",
    "TrainOptions",
    "UsageError",
    "Values",
    "__version__",
    "adopt",
    "bench",
    "check",
    "embed",
    "evaluate",
    "export",
    "infer",
    "load",
    "merge",
    "split",
    "train",
]

_HOMES = {
    "AdoptOptions": "toolkit.adopting.adopt",
    "BatchLabeller": "toolkit.scaling.batch_labeller",
    "Channels": "toolkit.model_files.conventions",
    "CheckOptions": "toolkit.checking.check",
    "Colour": "toolkit.images.spec",
    "Precision": "toolkit.sessions.backend",
    "Runtime": "toolkit.sessions.backend",
    "EvaluateOptions": "toolkit.evaluation.result",
    "ExportOptions": "toolkit.exporting.options",
    "GateError": "toolkit.core.errors",
    "InferOptions": "toolkit.inference.options",
    "InputError": "toolkit.core.errors",
    "Inputs": "toolkit.inference.inputs",
    "LockedError": "toolkit.core.errors",
    "MachineError": "toolkit.core.errors",
    "MaxFailures": "toolkit.inference.options",
    "MismatchError": "toolkit.core.errors",
    "Mode": "toolkit.splitting.mode",
    "Answer": "toolkit.inference.predictor",
    "Model": "toolkit.inference.predictor",
    "ModelError": "toolkit.core.errors",
    "NoContractError": "toolkit.model_files.contract",
    "Output": "toolkit.model_files.conventions",
    "Predictions": "toolkit.inference.predictor",
    "Preprocess": "toolkit.images.spec",
    "Quantize": "toolkit.exporting.options",
    "Resize": "toolkit.images.spec",
    "Shard": "toolkit.inference.distributed.shard",
    "SplitOptions": "toolkit.splitting.options",
    "TensorLayout": "toolkit.model_files.conventions",
    "ToolkitError": "toolkit.core.errors",
    "TrainOptions": "toolkit.training.options",
    "UsageError": "toolkit.core.errors",
    "Values": "toolkit.model_files.conventions",
    "adopt": "toolkit.api",
    "bench": "toolkit.api",
    "check": "toolkit.api",
    "embed": "toolkit.api",
    "evaluate": "toolkit.api",
    "export": "toolkit.api",
    "infer": "toolkit.api",
    "load": "toolkit.inference.predictor",
    "merge": "toolkit.api",
    "split": "toolkit.api",
    "train": "toolkit.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
