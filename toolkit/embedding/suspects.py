"""Labels that are probably wrong: a model that has not seen an image is confident that it shows another class.

Features of all images are computed once. Then the images are dealt into folds, and each fold is judged by a classifier
that was fitted to the features and labels of the others: multinomial logistic regression with a small penalty. How many
labels of each kind are wrong is estimated from these probabilities, and so many of the least believable ones are listed
(Northcutt, Jiang and Chuang: Confident Learning, JAIR 70, 2021).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from toolkit.core.errors import InputError, UsageError
from toolkit.core.progress import SILENT, Progress
from toolkit.core.text import counted, printable
from toolkit.data.cache import default_cache_dir
from toolkit.data.class_source import Source
from toolkit.data.walk import sample
from toolkit.embedding.embed import features_of
from toolkit.embedding.feature_session import FeatureSession

FOLDS: Final = 5
PENALTY: Final = 1e-3
"""Weight of the squared coefficients in the loss."""

STEPS: Final = 200

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """One label that is probably wrong.

    Attributes:
        path: the file's place in the source.
        label: what it is labelled.
        suggestion: what the model says instead.
        confidence: probability of `suggestion`, 0..1.
        likelihood: probability of `label`, 0..1.
    """

    path: str
    label: str
    suggestion: str
    confidence: float
    likelihood: float


def suspected_labels(
    source: Source, model: Path, *, folds: int = FOLDS, seed: int = 0, progress: Progress = SILENT
) -> list[Suspect]:
    """The images of `source` whose label is probably wrong, the most certain first.

    Args:
        source: a folder with its labels, or an archive, which is unpacked into the cache.
        model: a bundle, an ONNX file, or the name `imagenet`; the layer before its last one is used.
        folds: an image is judged by what was fitted to all folds but its own; 2 or more.
        seed: deals the images into folds.
        progress: hears of each image.

    Raises:
        UsageError: fewer than two folds.
        TooFewError: fewer than two classes, or one with fewer readable images than folds.
        InputError: a damaged archive.
        ModelError, MachineError: the model cannot be run.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds}: expected 2 or more")
    shown = printable(str(source.path))
    files = [file for file in source.files if file.problem is None and file.label]
    _require_enough(shown, Counter(file.label for file in files), "file", folds)
    session = FeatureSession(model, threads=1)
    where = source.unpacked(default_cache_dir(), progress) if source.root is None else source.origin
    progress.start("computing features", len(files))
    features, known = [], []
    try:
        samples = (sample(where(file), file.name) for file in files)
        for file, row in zip(files, features_of(samples, session), strict=True):
            if row.features is not None:
                features.append(row.features)
                known.append(file)
            progress.advance()
    finally:
        progress.finish()
    labels = sorted({file.label for file in known})
    truth = np.array([labels.index(file.label) for file in known], np.int64)
    _require_enough(
        shown, {label: int(n) for label, n in zip(labels, np.bincount(truth), strict=True)}, "readable image", folds
    )
    p = out_of_fold(np.stack(features), truth, len(labels), folds=folds, seed=seed)
    return [
        Suspect(
            path=known[i].name,
            label=labels[truth[i]],
            suggestion=labels[k],
            confidence=float(p[i, k]),
            likelihood=float(p[i, truth[i]]),
        )
        for i, k in confident_disagreements(p, truth)
    ]


class TooFewError(InputError):
    """Too few classes or images to judge labels by."""


def _require_enough(shown: str, counts: Mapping[str, int], noun: str, folds: int) -> None:
    if len(counts) < 2:
        raise TooFewError(
            f"{shown}: labels are compared with those of other classes, and it has {counted(len(counts), 'class')}",
            hint="give a dataset of two classes or more",
        )
    least = min(counts, key=lambda label: (counts[label], label))
    if counts[least] < folds:
        raise TooFewError(
            f"{shown}: class {printable(least)} has {counted(counts[least], noun)}, "
            f"fewer than the {folds} folds that the labels are judged in",
            hint=f"--folds {counts[least]}" if counts[least] > 1 else "put more images into the class, or take it away",
        )


def confident_disagreements(p: Array, truth: Labels) -> list[tuple[int, int]]:
    """(image, class) where another class than the label is believed, the largest difference first.

    Of the class i, as many images are taken as are estimated to be wrong, those with the smallest probability of i; and
    for each other class j as many as are estimated to be j, those with the largest difference between both. What both
    ways take is listed (section 3.2 of the paper, "C+NR").

    Args:
        p: float32 (N, K), probabilities of each image by a classifier that has not seen it.
        truth: int (N,), the labels as they are.
    """
    n_classes = p.shape[1]
    counts = np.rint(estimated_counts(p, truth)).astype(int)
    by_class: set[int] = set()
    by_rate: set[int] = set()
    for i in range(n_classes):
        mine = np.flatnonzero(truth == i)
        n_wrong = int(counts[i].sum() - counts[i, i])
        by_class.update(mine[np.argsort(p[mine, i], kind="stable")[:n_wrong]].tolist())
        for j in range(n_classes):
            if j != i:
                margin = p[mine, j] - p[mine, i]
                by_rate.update(mine[np.argsort(-margin, kind="stable")[: counts[i, j]]].tolist())
    best = p.argmax(axis=1)
    found = [image for image in by_class & by_rate if best[image] != truth[image]]
    found.sort(key=lambda image: (p[image, truth[image]] - p[image, best[image]], image))
    return [(image, int(best[image])) for image in found]


def estimated_counts(p: Array, truth: Labels) -> npt.NDArray[np.float64]:
    """(K, K): how many images with the label i show j, by the confident joint of the paper (its equation 1).

    An image is believed to show j where its probability of j is at least the mean that images labelled j have; of
    several such classes the most probable. Each row is scaled to the number of images with its label.
    """
    n_classes = p.shape[1]
    n = np.bincount(truth, minlength=n_classes)
    means = np.array([p[truth == j, j].mean() if n[j] else 2.0 for j in range(n_classes)])
    above = p >= means
    believed = np.where(above, p, -1.0).argmax(axis=1)
    sure = above.any(axis=1)
    joint = np.zeros((n_classes, n_classes))
    np.add.at(joint, (truth[sure], believed[sure]), 1)
    scaled: npt.NDArray[np.float64] = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1) * n[:, None]
    return scaled


def out_of_fold(features: Array, truth: Labels, n_classes: int, *, folds: int = FOLDS, seed: int = 0) -> Array:
    """Probabilities (N, K) of each image by a classifier that was fitted to the other folds.

    Args:
        features: float32 (N, D).
        truth: int (N,), 0..K-1.
    """
    rng = np.random.default_rng(seed)
    fold = np.empty(len(truth), np.int64)
    for k in range(n_classes):  # each class is dealt out evenly
        places = rng.permutation(np.flatnonzero(truth == k))
        fold[places] = np.arange(len(places)) % folds
    found = np.empty((len(truth), n_classes), np.float32)
    for f in range(folds):
        seen, unseen = fold != f, fold == f
        mean, spread = features[seen].mean(0), features[seen].std(0) + 1e-6
        inputs, others = ((features[which] - mean) / spread for which in (seen, unseen))
        scale = np.float32(1 / np.sqrt(features.shape[1]))
        weights = _fitted(_with_one(inputs * scale), truth[seen], n_classes)
        found[unseen] = _softmax(_with_one(others * scale) @ weights)
    return found


def _with_one(inputs: Array) -> Array:
    return np.concatenate([inputs, np.ones((len(inputs), 1), np.float32)], axis=1)


def _fitted(inputs: Array, truth: Labels, n_classes: int) -> Array:
    """Coefficients (D + 1, K) of the regression, by Nesterov's accelerated descent."""
    wanted = np.eye(n_classes, dtype=np.float32)[truth]
    weights: Array = np.zeros((inputs.shape[1], n_classes), np.float32)
    ahead, n = weights, len(inputs)
    step = np.float32(1 / (0.5 * _largest_eigenvalue(inputs) / n + PENALTY))
    for t in range(STEPS):
        slope: Array = inputs.T @ (_softmax(inputs @ ahead) - wanted) / np.float32(n) + np.float32(PENALTY) * ahead
        new: Array = ahead - step * slope
        ahead = new + np.float32(t / (t + 3)) * (new - weights)
        weights = new
    return weights


def _largest_eigenvalue(inputs: Array) -> float:
    """Of inputs' transposed times inputs, by power iteration."""
    v = np.ones(inputs.shape[1], np.float32) / np.sqrt(inputs.shape[1])
    size = 1.0
    for _ in range(30):
        v = inputs.T @ (inputs @ v)
        size = float(np.linalg.norm(v))
        v /= size
    return 1.05 * size


def _softmax(logits: Array) -> Array:
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = values / values.sum(axis=1, keepdims=True)
    return result


def precision_recall(found: Sequence[str], planted: Sequence[str]) -> tuple[float, float]:
    """Of the files `found`, how many are among those `planted`; and of these, how many are found."""
    hits = len(set(found) & set(planted))
    return hits / max(1, len(found)), hits / max(1, len(planted))
