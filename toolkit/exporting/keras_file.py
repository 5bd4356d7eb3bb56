"""Load a `.keras` file from anywhere: nothing in it is executed, and nothing is allocated that it does not hold."""

from __future__ import annotations

import math
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import keras

from toolkit.core.errors import ModelError
from toolkit.core.parse import parse_json
from toolkit.core.text import first_line

MAX_CONFIG_BYTES: Final = 64 << 20


def load_keras(path: Path) -> keras.Model:
    """The model in the file.

    Raises:
        ModelError: missing, damaged, with code in it (a Lambda layer), or declaring weights that it does not hold.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a .keras file, found nothing", hint="toolkit train DATA")
    config, held = _read(path)
    # In a thread of its own: Keras notes unmade variables per thread, and this note must not outlive the look.
    with ThreadPoolExecutor(max_workers=1) as pool:
        declared = _guard(path, lambda: pool.submit(_declared_values, config).result())
    if declared > held:
        raise ModelError(
            f"{path}: declares {declared:,} weights, but holds at most {held:,}",
            hint="the file is damaged, or was made to exhaust memory; save it again",
        )
    model = _guard(path, lambda: keras.saving.load_model(path, compile=False, safe_mode=True))
    if not isinstance(model, keras.Model):
        raise ModelError(f"{path}: holds a {type(model).__name__}, no Keras model")
    return model


def _guard(path: Path, step: Any) -> Any:
    """Whatever Keras raises becomes a `ModelError` with its first line."""
    try:
        return step()
    except Exception as error:
        raise ModelError(
            f"{path}: Keras cannot load this file ({first_line(error)})",
            hint="save it again with model.save('NAME.keras')",
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """The file's configuration, and how many weights of one byte or more can be in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo("config.json")
            if entry.file_size > MAX_CONFIG_BYTES:
                raise ModelError(f"{path}: its configuration is larger than any network's ({entry.file_size:,} bytes)")
            config = parse_json(archive.read(entry))
            weights = archive.getinfo("model.weights.h5").file_size
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(
            f"{path}: no .keras file, or a damaged one ({error})", hint="save it again with model.save('NAME.keras')"
        ) from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: its configuration is a {type(config).__name__}, no network's")
    # Keras stores weights uncompressed; deflate at its best holds a thousand zeros in one byte.
    return config, min(weights, path.stat().st_size * 1032)


def _declared_values(config: dict[str, Any]) -> int:
    """Single values in all weights that the configuration asks for, none of them made."""
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    return sum(math.prod(variable.shape) for variable in getattr(model, "variables", ()))
