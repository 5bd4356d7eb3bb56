"""An ONNX file -> `run(batch)` in onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import ModelError
from toolkit.core.files import file_digest
from toolkit.core.text import first_line, printable
from toolkit.images.decode import Image
from toolkit.model_files.contract import METADATA_KEY, Contract, NoContractError
from toolkit.sessions.session import Probabilities

CPU_PROVIDER: Final = "CPUExecutionProvider"
Provider = str | tuple[str, dict[str, int]]
Port = tuple[str, list[Any]]
"""An input or output of a graph: its type's name, and its shape."""


def session_options(threads: int | None) -> Any:
    """onnxruntime's `SessionOptions`: silent, and idle threads sleep; `threads` within one `run`, None: its choice."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class OnnxSession:
    """An ONNX file in onnxruntime."""

    arithmetic = ""
    may_fork = True

    def __init__(self, path: Path, *, threads: int | None, providers: Sequence[Provider] = (CPU_PROVIDER,)) -> None:
        import onnxruntime

        self.fingerprint = file_digest(path)
        self.n_bytes = path.stat().st_size
        try:
            # A retry on the CPU would print its reason on stdout, where the rows of a table may go.
            self.inner: Any = onnxruntime.InferenceSession(
                os.fspath(path), session_options(threads), providers=list(providers), enable_fallback=len(providers) > 1
            )
        except Exception as error:
            raise ModelError(
                f"{printable(str(path))}: onnxruntime cannot load this file ({first_line(error)})",
                hint="export it again, or check that the copy is complete",
            ) from None
        self.device = "cpu" if self.inner.get_providers()[0] == CPU_PROVIDER else "cuda"
        self.note = ""
        self.contract = self._contract(path)
        self.input: str = self.inner.get_inputs()[0].name
        self.output: str = self.inner.get_outputs()[0].name

    def _contract(self, path: Path) -> Contract:
        try:
            text = self.inner.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            inputs, outputs = (
                [(value.type.removeprefix("tensor(").removesuffix(")"), value.shape) for value in values]
                for values in (self.inner.get_inputs(), self.inner.get_outputs())
            )
        except UnicodeDecodeError as error:
            raise ModelError(
                f"{printable(str(path))}: a damaged ONNX file ({first_line(error)})", hint="copy or export it again"
            ) from None
        if text is None:
            raise NoContractError(path)
        contract = Contract.from_json(text, source=printable(str(path)))
        check_promise(path, contract, inputs, outputs)
        return contract

    def run(self, images_u8: Image) -> Probabilities:
        result: Probabilities = self.inner.run([self.output], {self.input: images_u8})[0]
        return result


def check_promise(path: Path, contract: Contract, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Hold what a runtime finds in a file against the file's contract.

    Raises:
        ModelError: it takes or gives something else.
    """
    promised = [*contract.preprocess.shape]
    takes = len(inputs) == 1 and inputs[0][0] == "uint8" and list(inputs[0][1][1:]) == promised
    batch = inputs[0][1][0] if takes else 0
    takes = takes and (not isinstance(batch, int) or batch in (-1, contract.batch))
    width = outputs[0][1][-1:] if outputs else []
    gives = bool(outputs) and all(not isinstance(n, int) or n in (-1, len(contract.labels)) for n in width)
    if not (takes and gives and outputs[0][0] == "float"):
        n = contract.batch or "N"
        found = " to ".join(f"{kind} {shape}" for kind, shape in (*inputs, *outputs))
        raise ModelError(
            f"{printable(str(path))}: the contract promises uint8 [{n}, {', '.join(map(str, promised))}] to float "
            f"[{n}, {len(contract.labels)}], found {found}",
            hint="export it again, or bring a foreign file in with toolkit adopt",
        )
