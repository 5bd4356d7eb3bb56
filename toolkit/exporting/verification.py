"""A file is kept when it computes what the Keras model computes, on real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from toolkit.exporting.formats import to_savedmodel
from toolkit.exporting.options import Format, Quantize
from toolkit.exporting.results import Verification
from toolkit.exporting.sample_images import SampleImages
from toolkit.exporting.serving_graph import Images, Probabilities
from toolkit.sessions.backend import Runtime
from toolkit.sessions.open_session import open_session

Runner = Callable[[Images], Probabilities]

N_SINGLE: Final = 16
"""SampleImages that are also run one at a time."""
TIE: Final = 1e-6
"""Two classes whose probabilities are this near are both the best one."""

MAX_DIFFERENCE: Final = {None: 1e-4, Quantize.FLOAT16: 1e-2, Quantize.INT8: None}
MIN_AGREEMENT: Final = {None: 1.0, Quantize.FLOAT16: 0.0, Quantize.INT8: 0.98}
MAX_ACCURACY_LOSS: Final = {None: None, Quantize.FLOAT16: None, Quantize.INT8: 0.01}
SUM_TOLERANCE: Final = {None: 1e-3, Quantize.FLOAT16: 1e-2, Quantize.INT8: 1e-2}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """SampleImages, and what Keras computes for them.

    Attributes:
        samples: N decoded images, N >= 1.
        expected: what Keras computes, float32 (N, K).
        batch: how many images a file is given at a time, beside one.
    """

    samples: SampleImages
    expected: Probabilities
    batch: int


def open_runner(path: Path, kind: Format, runtime: Runtime = Runtime.AUTO) -> Runner:
    """A function from images uint8 (N, H, W, C) to probabilities float32 (N, K), for any N.

    Args:
        path: the file, with its contract.
        kind: what it is.
        runtime: what runs an ONNX file, as `toolkit infer --runtime` takes it.

    Raises:
        ModelError: the runtime refuses the file.
        MachineError: the runtime is not installed.
    """
    if kind is Format.SAVEDMODEL:
        return to_savedmodel.load(path)
    return open_session(path, device="cpu", runtime=runtime if kind is Format.ONNX else Runtime.AUTO, proving=True).run


def verify(run: Runner, proof: Proof, quantize: Quantize | None) -> Verification:
    """Run the file on the images, at batch 1 and N, and compare it with what Keras computed.

    Args:
        run: the file.
        proof: what to compare with.
        quantize: which limits hold.
    """
    samples, expected = proof.samples, proof.expected
    found, misses = _run(run, proof)
    if found is None:
        return not_run(misses[0], proof, quantize)
    difference = float(np.abs(found - expected).max())
    agreement = float(same_top1(found, expected).mean())
    accuracy = _accuracies(found, expected, samples)
    limit = MAX_DIFFERENCE[quantize]
    rows = float(np.abs(found.sum(axis=1) - 1).max())
    if not np.isfinite(difference):
        misses += ("it gives numbers that are not finite",)
    if limit is not None and not difference <= limit:
        misses += (f"largest difference {difference:.2g}, allowed {limit:g}",)
    if agreement < MIN_AGREEMENT[quantize]:
        misses += (f"top-1 agreement {agreement:.4f}, at least {MIN_AGREEMENT[quantize]:g} is wanted",)
    tolerance = SUM_TOLERANCE[quantize]
    if quantize is Quantize.INT8:
        tolerance = max(tolerance, expected.shape[1] / 512)  # half a step of 1/256 a column
    if rows > tolerance:
        misses += (f"rows sum to 1 within {rows:.2g}, allowed {tolerance:.2g}",)
    allowed = MAX_ACCURACY_LOSS[quantize]
    if allowed is not None and accuracy is not None and accuracy[1] - accuracy[0] > allowed + 1e-9:
        misses += (f"accuracy {accuracy[0]:.4f} after {accuracy[1]:.4f}, a loss of {allowed:g} is allowed",)
    return Verification(
        n_images=len(samples),
        difference=difference,
        agreement=agreement,
        accuracy=accuracy,
        limit=limit,
        misses=misses,
    )


def not_run(why: str, proof: Proof, quantize: Quantize | None) -> Verification:
    """What is said of a file that gives no probabilities that could be compared."""
    return Verification(
        n_images=len(proof.samples),
        difference=1.0,
        agreement=0.0,
        accuracy=None,
        limit=MAX_DIFFERENCE[quantize],
        misses=(why,),
    )


def _run(run: Runner, proof: Proof) -> tuple[Probabilities | None, tuple[str, ...]]:
    """The file's probabilities for all images, and what is wrong with their form."""
    images, n = proof.samples.images_u8, proof.batch
    found = np.concatenate([run(images[at : at + n]) for at in range(0, len(images), n)])
    if found.shape != proof.expected.shape or found.dtype != np.float32:
        return None, (f"it gives {found.dtype} {found.shape}, expected float32 {proof.expected.shape}",)
    singles = np.concatenate([run(images[at : at + 1]) for at in range(min(N_SINGLE, len(images)))])
    apart = float(np.abs(singles - found[: len(singles)]).max())
    misses = (f"one image alone and in a batch of {n} differ by {apart:.2g}",) if apart > 1e-3 else ()
    return found, misses


def same_top1(found: Probabilities, expected: Probabilities) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether the best class of `found` is (one of) the best of `expected`: bool (N,)."""
    chosen = np.take_along_axis(expected, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    same: np.ndarray[tuple[int], np.dtype[np.bool_]] = chosen >= expected.max(axis=1) - TIE
    return same


def _accuracies(found: Probabilities, expected: Probabilities, samples: SampleImages) -> tuple[float, float] | None:
    labelled = samples.truth >= 0
    if not labelled.any():
        return None
    truth = samples.truth[labelled]
    return (
        float((found[labelled].argmax(axis=1) == truth).mean()),
        float((expected[labelled].argmax(axis=1) == truth).mean()),
    )
