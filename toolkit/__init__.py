"""Clean, split, train, export and label folders of images.

The public names are imported when they are first used, so that `import toolkit` costs nothing:

>>> import toolkit
>>> toolkit.ToolkitError.__module__
'toolkit.errors'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.adoption import AdoptOptions
    from toolkit.api import adopt, check, evaluate, export, infer, split, train
    from toolkit.checking import CheckOptions
    from toolkit.errors import ToolkitError
    from toolkit.evaluation import EvaluateOptions
    from toolkit.exporting import ExportOptions
    from toolkit.labelling import InferOptions
    from toolkit.model import Model, Predictions, load
    from toolkit.splitting import SplitOptions
    from toolkit.training import TrainOptions

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
    "AdoptOptions": "toolkit.adoption",
    "CheckOptions": "toolkit.checking",
    "EvaluateOptions": "toolkit.evaluation",
    "ExportOptions": "toolkit.exporting",
    "InferOptions": "toolkit.labelling",
    "Model": "toolkit.model",
    "Predictions": "toolkit.model",
    "SplitOptions": "toolkit.splitting",
    "ToolkitError": "toolkit.errors",
    "TrainOptions": "toolkit.training",
    "evaluate": "toolkit.api",
    "adopt": "toolkit.api",
    "check": "toolkit.api",
    "export": "toolkit.api",
    "infer": "toolkit.api",
    "load": "toolkit.model",
    "split": "toolkit.api",
    "train": "toolkit.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
