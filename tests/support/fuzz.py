"""One reader under a coverage-guided fuzzer: `python -m support.fuzz READER RUNS SEED CORPUS`.

atheris changes the bytes of the files in CORPUS, keeps those that reach new code, and ends with an error where a reader
raises anything but the errors that are meant for a user, takes more than 20 s or 2 GB more.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["toolkit"]):
    from toolkit.core.errors import ToolkitError
    from toolkit.images.header import MAX_PIXELS, read_header
    from toolkit.model_files import flatbuffer_reader as flatbuffer
    from toolkit.model_files import protobuf_reader as wire
    from toolkit.model_files.contract import Contract
    from toolkit.model_files.contract_io import tflite_contract
    from toolkit.model_files.inspect import _savedmodel, _tflite
    from toolkit.training.recipes.recipe import parse_recipe


def header(data: bytes) -> None:
    """Format and size of an image."""
    read_header(data, MAX_PIXELS)


def contract(data: bytes) -> None:
    """A contract's JSON."""
    Contract.from_json(data.decode("utf-8", "replace"))


def flatbuffers(data: bytes) -> None:
    """The contract and the operations of a TFLite file."""
    view = memoryview(data)
    with suppress(flatbuffer.FlatbufferError):
        _tflite(view)
    tflite_contract(view, Path("fuzzed.tflite"))


def protobuf(data: bytes) -> None:
    """The operations of a SavedModel."""
    with suppress(wire.WireError):
        _savedmodel(memoryview(data))


def recipe(data: bytes) -> None:
    """A recipe's TOML."""
    parse_recipe(data.decode("utf-8", "replace"), source="fuzzed.toml", name="fuzzed")


READERS: dict[str, Callable[[bytes], None]] = {
    reader.__name__: reader for reader in (header, contract, flatbuffers, protobuf, recipe)
}


def main() -> None:
    """Fuzz until RUNS inputs were tried."""
    name, runs, seed, corpus = sys.argv[1:]
    reader = READERS[name]

    def one(data: bytes) -> None:
        with suppress(ToolkitError):
            reader(data)

    # The system counts what the process that started this one had held, too.
    inherited_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    limit = f"-rss_limit_mb={inherited_mb + 2048}"
    options = [f"-runs={runs}", f"-seed={seed}", "-timeout=20", limit, "-max_len=20000"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
