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
    from toolkit.api import adopt, check, evaluate, export, infer, split, train
    from toolkit.checking.check import CheckOptions
    from toolkit.core.errors import ToolkitError
    from toolkit.evaluation.evaluate import EvaluateOptions
    from toolkit.exporting.options import ExportOptions
    from toolkit.inference.predict import InferOptions
    from toolkit.inference.predictor import Model, Predictions, load
    from toolkit.splitting.split import SplitOptions
    from toolkit.training.train import TrainOptions

__version__ = "0.1.0"

__all__ = [
    "AdoptOptions",
    "CheckOptions",
    "EvaluateOptions",
    "ExportOptions",
    "InferOptions",
    "Model",
    "Predictions",
    "SplitOptions",
    "ToolkitError",
    "TrainOptions",
    "__version__",
    "adopt",
    "check",
    "evaluate",
    "export",
    "infer",
    "load",
    "split",
    "train",
]

_HOMES = {
    "AdoptOptions": "toolkit.adopting.adopt",
    "CheckOptions": "toolkit.checking.check",
    "EvaluateOptions": "toolkit.evaluation.evaluate",
    "ExportOptions": "toolkit.exporting.options",
    "InferOptions": "toolkit.inference.predict",
    "Model": "toolkit.inference.predictor",
    "Predictions": "toolkit.inference.predictor",
    "SplitOptions": "toolkit.splitting.split",
    "ToolkitError": "toolkit.core.errors",
    "TrainOptions": "toolkit.training.train",
    "evaluate": "toolkit.api",
    "adopt": "toolkit.api",
    "check": "toolkit.api",
    "export": "toolkit.api",
    "infer": "toolkit.api",
    "load": "toolkit.inference.predictor",
    "split": "toolkit.api",
    "train": "toolkit.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
