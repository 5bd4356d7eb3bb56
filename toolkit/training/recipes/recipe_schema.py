"""What a recipe may say: the layers, their arguments, and the keys of each table. Data, no behaviour but checking."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Check = Callable[[Any], str]
"""Takes a value, returns what was expected where the value does not fit, else ""."""


_LARGEST: Final = 1e38
"""Of the numbers of networks, which are float32."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def integer(low: int, high: int = 2**31 - 1) -> Check:
    """A whole number in low..high."""
    return lambda value: "" if type(value) is int and low <= value <= high else f"a whole number, {low} to {high}"


def number(low: float = -_LARGEST, high: float = _LARGEST) -> Check:
    """A number in low..high."""
    return lambda value: "" if _number(value) and low <= value <= high else f"a number, {low:g} to {high:g}"


def choice(*allowed: str) -> Check:
    """One of some words."""

    def check(value: Any) -> str:
        return "" if value in allowed else f"one of {', '.join(map(repr, allowed))}{suggestion(value, allowed)}"

    return check


def boolean(value: Any) -> str:
    """true or false."""
    return "" if isinstance(value, bool) else "true or false"


def text(value: Any) -> str:
    """Any text but none."""
    if not isinstance(value, str) or not value:
        return "text"
    return "text without the character NUL" if "\0" in value else ""


def recipe_name(value: Any) -> str:
    """A name that can be printed, and taken for no path."""
    good = isinstance(value, str) and value.isprintable() and 1 <= len(value) <= 100
    allowed = good and not any(letter in value for letter in "/\\") and value not in (".", "..")
    return "" if allowed else "1 to 100 letters, digits or signs, without a slash or backslash, and not '.' alone"


def layer_name(value: Any) -> str:
    """What TensorFlow takes as the name of a layer."""
    good = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", value)
    return "" if good else "1 to 100 ASCII letters, digits, '_', '.' or '-'"


def size(value: Any) -> str:
    """A whole number of pixels, or a pair [height, width] of them."""
    values = value if isinstance(value, list) and len(value) == 2 else [value]
    return "" if all(type(v) is int and 1 <= v <= 16384 for v in values) else "a whole number from 1, or a pair of them"


def factor(value: Any) -> str:
    """A number, or a pair [lower, upper] of them."""
    values = value if isinstance(value, list) and len(value) == 2 else [value]
    return "" if all(map(_number, values)) else "a number, or a pair [lower, upper]"


def units(value: Any) -> str:
    """A whole number, or "classes": as many as the data have classes."""
    return "" if value == "classes" or (type(value) is int and value >= 1) else 'a whole number from 1, or "classes"'


def fraction(value: Any) -> str:
    """A number, or a quotient such as "1/255"."""
    return "" if as_number(value) is not None else 'a number, or a quotient such as "1/255"'


def as_number(value: Any) -> float | None:
    """The number that `value` means, None where it means none.

    >>> as_number("1/255") == 1 / 255, as_number(-1), as_number("1/0")
    (True, -1.0, None)
    """
    if isinstance(value, str):
        above, _, below = value.partition("/")
        try:
            found = float(above) / float(below)
        except (ValueError, ZeroDivisionError, OverflowError):
            return None
        return found if _number(found) else None
    return float(value) if _number(value) else None


def labels(value: Any) -> str:
    """Two or more class names, all different."""
    good = isinstance(value, list) and len(value) >= 2 and all(isinstance(v, str) and v for v in value)
    return "" if good and len(set(value)) == len(value) else "a list of two or more class names, all different"


ACTIVATION: Final = choice(
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "swish", "mish"),
    *("tanh", "sigmoid", "hard_sigmoid", "softmax", "softplus", "softsign", "linear"),
)
PADDING: Final = choice("valid", "same")
FILL: Final = choice("reflect", "wrap", "constant", "nearest")
INTERPOLATION: Final = choice("nearest", "bilinear")


@dataclass(frozen=True, slots=True)
class Arguments:
    """The keys of one table: what each must be, and which may not be missing."""

    checks: Mapping[str, Check]
    required: tuple[str, ...] = ()


_NAME: Final[Mapping[str, Check]] = {"name": layer_name}
_POOL: Final = Arguments({"pool_size": size, "strides": size, "padding": PADDING, **_NAME})
_CONV: Final[Mapping[str, Check]] = {
    "kernel_size": size,
    "strides": size,
    "padding": PADDING,
    "dilation_rate": size,
    "activation": ACTIVATION,
    "use_bias": boolean,
    **_NAME,
}
_GEOMETRY: Final[Mapping[str, Check]] = {"fill_mode": FILL, "interpolation": INTERPOLATION, "fill_value": number()}

LAYERS: Final[Mapping[str, Arguments]] = {
    "Rescaling": Arguments({"scale": fraction, "offset": fraction, **_NAME}, ("scale",)),
    "Conv2D": Arguments({"filters": integer(1), "groups": integer(1), **_CONV}, ("filters", "kernel_size")),
    "SeparableConv2D": Arguments(
        {"filters": integer(1), "depth_multiplier": integer(1), **_CONV}, ("filters", "kernel_size")
    ),
    "DepthwiseConv2D": Arguments({"depth_multiplier": integer(1), **_CONV}, ("kernel_size",)),
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "GlobalMaxPooling2D": Arguments(_NAME),
    "GlobalAveragePooling2D": Arguments(_NAME),
    "ZeroPadding2D": Arguments({"padding": size, **_NAME}),
    "Flatten": Arguments(_NAME),
    "Dense": Arguments({"units": units, "activation": ACTIVATION, "use_bias": boolean, **_NAME}, ("units",)),
    "Dropout": Arguments({"rate": number(0, 0.999), **_NAME}, ("rate",)),
    "SpatialDropout2D": Arguments({"rate": number(0, 0.999), **_NAME}, ("rate",)),
    "GaussianNoise": Arguments({"stddev": number(0), **_NAME}, ("stddev",)),
    "BatchNormalization": Arguments(
        {"momentum": number(0, 1), "epsilon": number(0), "center": boolean, "scale": boolean, **_NAME}
    ),
    "LayerNormalization": Arguments({"epsilon": number(0), "center": boolean, "scale": boolean, **_NAME}),
    "Activation": Arguments({"activation": ACTIVATION, **_NAME}, ("activation",)),
    "ReLU": Arguments({"max_value": number(0), "negative_slope": number(0), "threshold": number(0), **_NAME}),
}
"""Layer classes of the network: Keras' names and arguments."""

AUGMENTATIONS: Final[Mapping[str, Arguments]] = {
    "RandomFlip": Arguments({"mode": choice("horizontal", "vertical", "horizontal_and_vertical")}),
    "RandomRotation": Arguments({"factor": factor, **_GEOMETRY}, ("factor",)),
    "RandomTranslation": Arguments(
        {"height_factor": factor, "width_factor": factor, **_GEOMETRY}, ("height_factor", "width_factor")
    ),
    "RandomZoom": Arguments({"height_factor": factor, "width_factor": factor, **_GEOMETRY}, ("height_factor",)),
    "RandomShear": Arguments({"x_factor": factor, "y_factor": factor, **_GEOMETRY}),
    "RandomBrightness": Arguments({"factor": factor}, ("factor",)),
    "RandomContrast": Arguments({"factor": factor}, ("factor",)),
    "RandomSaturation": Arguments({"factor": factor}, ("factor",)),
    "RandomHue": Arguments({"factor": factor}, ("factor",)),
    "RandomSharpness": Arguments({"factor": factor}, ("factor",)),
    "RandomColorDegeneration": Arguments({"factor": factor}, ("factor",)),
    "RandomGrayscale": Arguments({"factor": number(0, 1)}),
    "RandomPosterization": Arguments({"factor": integer(1, 8)}, ("factor",)),
    "RandomErasing": Arguments({"factor": number(0, 1), "scale": factor}),
}
"""Augmentation layers: at work in training alone, never part of the network that is saved."""

OPTIMIZERS: Final = dict.fromkeys(("adam", "rmsprop", "adamw", "nadam", "adagrad", "adadelta", "adamax"), 0.001) | {
    "sgd": 0.01
}
"""Keras' optimizers and their own learning rates."""

LOSSES: Final = ("sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy")
BACKBONES: Final = (
    "EfficientNetLite0",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "ConvNeXtTiny",
)
"""Networks that take values 0..255 and bring their own scaling."""

LITE0_BLOCKS: Final = (*(f"block{i}" for i in range(16)), "head")
"""What EfficientNet-Lite0 can be cut after and tuned from."""

DEPTHS: Final = ("auto", "none", "all")
"""What a backbone's `tune` may be besides the name of a block or layer."""

MONITORS: Final = ("val_loss", "val_accuracy", "loss", "accuracy")

TOP: Final = Arguments(
    {
        "schema": lambda value: "" if value == 1 else "1, the schema that this version reads",
        "name": recipe_name,
        "title": text,
        "source": text,
        "classes": integer(2, 100_000),
        "parameters": integer(1),
    },
    ("schema",),
)
INPUT: Final = Arguments(
    {
        "height": integer(1, 16384),
        "width": integer(1, 16384),
        "colour": choice("rgb", "grey"),
        "resize": choice("squash", "crop", "pad"),
        "adapt": boolean,
        "labels": labels,
    },
    ("height", "width"),
)
BACKBONE: Final = Arguments(
    {
        "name": choice(*BACKBONES),
        "weights": text,
        "cut": text,
        "tune": text,
        "head_epochs": integer(0, 1_000_000),
        "head_learning_rate": number(1e-9, 1e6),
    },
    ("name",),
)
TRAIN: Final = Arguments(
    {
        "optimizer": choice(*OPTIMIZERS),
        "learning_rate": number(0, 1e6),
        "schedule": choice("constant", "cosine"),
        "label_smoothing": number(0, 0.9),
        "class_weights": choice("none", "balanced"),
        "loss": choice(*LOSSES),
        "from_logits": boolean,
        "batch_size": integer(1, 65536),
        "epochs": integer(1, 1_000_000),
        "steps_per_epoch": integer(1),
        "validation_steps": integer(1),
        "validation": lambda value: "" if _number(value) and 0 < value < 1 else "a number between 0 and 1",
        "seed": integer(0),
        "monitor": choice(*MONITORS),
        "patience": integer(1),
        "keep": choice("last", "best"),
    },
    ("loss", "epochs", "batch_size"),
)


def suggestion(word: Any, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known word is near, else "".

    >>> suggestion("fliters", ["filters", "units"])
    "; did you mean 'filters'?"
    """
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[near[0]]!r}?" if near else ""


def problems(table: Mapping[str, Any], arguments: Arguments, place: str) -> list[str]:
    """What is wrong with the keys and values of one table, each as one line that begins with `place`."""
    found = []
    for key, value in table.items():
        check = arguments.checks.get(key)
        if check is None:
            known = ", ".join(arguments.checks)
            found.append(f"{place}: unknown key {key!r}{suggestion(key, arguments.checks) or f'; known: {known}'}")
        elif expected := check(value):
            found.append(f"{place}: {key} = {value!r:.60}, expected {expected}")
    found += [f"{place}: {key} is missing" for key in arguments.required if key not in table]
    return found
