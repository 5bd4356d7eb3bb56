"""Batches -> trained weights, epoch by epoch; an interruption loses one epoch at most. Imports TensorFlow.

After each epoch everything that the next one depends on is in one file: weights, optimizer, the random generators of
dropout and augmentation, and the epochs so far. Shuffling depends on the seed and the epoch's number alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from toolkit.core.errors import MachineError, ModelError
from toolkit.core.files import atomic_write
from toolkit.core.progress import Progress
from toolkit.model_files.history import Epoch
from toolkit.training.batches import Batches
from toolkit.training.keras_model import Networks, save
from toolkit.training.recipe import Training
from toolkit.training.workspace import STATE

BEST_WEIGHTS: Final = "best.weights.h5"


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training gave.

    Attributes:
        epochs: all of them, those before an interruption included.
        best: index in `epochs` of the best one.
    """

    epochs: tuple[Epoch, ...]
    best: int


@contextmanager
def devices(gpus: int | None, progress: Progress, *, names: Sequence[str] = ()) -> Iterator[None]:
    """Within this block networks are built and trained on the GPUs asked for, several of them through mirroring.

    Args:
        gpus: how many; None is all visible ones, 0 is the CPU.
        names: TensorFlow's names of the devices to mirror on, instead of GPUs.

    Raises:
        MachineError: fewer are visible, or their memory does not suffice.
    """
    visible = tf.config.list_physical_devices("GPU")
    if gpus is not None and gpus > len(visible):
        raise MachineError(
            f"--gpus {gpus}: TensorFlow sees {len(visible)} GPUs here",
            hint='toolkit doctor says why; pip install "toolkit-images[train-cuda]" brings the CUDA libraries',
        )
    if gpus == 0 and visible:
        tf.config.set_visible_devices([], "GPU")
    chosen = list(names) or [f"GPU:{i}" for i in range(len(visible) if gpus is None else gpus)]
    strategy = tf.distribute.MirroredStrategy(chosen) if len(chosen) > 1 else tf.distribute.get_strategy()
    if chosen:
        progress.line(f"training on {', '.join(chosen)}")
    try:
        with strategy.scope():
            yield
    except tf.errors.ResourceExhaustedError as error:
        raise MachineError(
            f"a batch does not fit into memory ({str(error.message).splitlines()[0][:120]})",
            hint="a smaller --batch-size or --image-size",
        ) from None


def fit(
    networks: Networks,
    train: Batches,
    validation: Batches,
    settings: Training,
    folder: Path,
    progress: Progress,
) -> Fit:
    """Train `networks` from the state in `folder`, if one is there, else from the start.

    At the end the networks hold the last epoch's weights and `folder` the best epoch's.

    Raises:
        ModelError: the loss is no number any more.
    """
    recorder = _Recorder(networks, train, settings, folder, progress)
    recorder.restore()
    if recorder.epochs_left():
        if networks.trainer.distribute_strategy.num_replicas_in_sync == 1:  # Keras cannot with several
            networks.trainer.steps_per_execution = train.together  # the same to the bit, with fewer ways to Python
        try:
            networks.trainer.fit(
                _dataset(train, lambda: len(recorder.epochs)),
                validation_data=_dataset(validation, lambda: 0),
                initial_epoch=len(recorder.epochs),
                epochs=settings.epochs,
                callbacks=[recorder],
                shuffle=False,
                verbose=0,
            )
        finally:
            progress.finish()
    return Fit(tuple(recorder.epochs), recorder.best)


def predict(network: keras.Model, batches: Batches) -> npt.NDArray[np.float32]:
    """What `network` gives for every picture of `batches`, in order: float32 (N, units)."""
    step = tf.function(
        lambda images: network(tf.cast(images, tf.float32), training=False),
        input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)],
    )
    parts = [step(images).numpy() for chunk, _ in batches.chunks(0) for images in chunk]
    return np.concatenate(parts).astype(np.float32, copy=False)


def _dataset(batches: Batches, epoch: Callable[[], int]) -> tf.data.Dataset:
    def chunks() -> Iterator[tuple[Any, Any]]:
        return batches.chunks(epoch())

    shape = batches.pictures.shape
    signature = (tf.TensorSpec((None, None, *shape), tf.uint8), tf.TensorSpec((None, None), tf.int64))
    dataset = tf.data.Dataset.from_generator(chunks, output_signature=signature).unbatch()
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches.n_steps)).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False  # there is nothing to tune, and its thread may take ten seconds to end
    return dataset.with_options(options)


class _Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports the progress, records each epoch, keeps the best weights, saves the state."""

    def __init__(
        self, networks: Networks, train: Batches, settings: Training, folder: Path, progress: Progress
    ) -> None:
        super().__init__()
        self.epochs: list[Epoch] = []
        self.best = 0
        self._networks, self._train, self._settings = networks, train, settings
        self._folder, self._progress = folder, progress
        self._began = self._trained = self._shown = 0.0
        self._done = 0  # pictures of this epoch

    def epochs_left(self) -> bool:
        """Whether there is anything to train, given the epochs so far."""
        return len(self.epochs) < self._settings.epochs and not self._patience_is_over()

    def on_train_begin(self, logs: object = None) -> None:  # noqa: ARG002
        epochs = self._settings.epochs - len(self.epochs)
        self._progress.start("training", epochs * self._train.n_pictures, "images")

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        self._began = time.perf_counter()
        self._done = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        done = min((batch + 1) * self._train.batch_size, self._train.n_pictures)
        self._progress.advance(done - self._done)
        self._done = done
        now = time.perf_counter()
        if logs and now - self._shown > 0.1:
            self._shown = now
            self._status(f"step {min(batch + 1, self._train.n_steps)}/{self._train.n_steps}", logs)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self._trained = time.perf_counter()
        self._status("validation", {})

    def _status(self, where: str, logs: Mapping[str, float]) -> None:
        figures = [f"{name} {logs[name]:.4f}" for name in ("loss", "accuracy") if name in logs]
        if self.epochs:
            last = self.epochs[-1]
            figures += [f"val_loss {last.val_loss:.4f}", f"val_accuracy {last.val_accuracy:.4f}"]
        self._progress.status("  ".join([f"epoch {len(self.epochs) + 1}/{self._settings.epochs}", where, *figures]))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(figures["loss"]):
            raise ModelError(
                f"the loss is {figures['loss']} in epoch {epoch + 1}: the training has diverged",
                hint="a smaller learning_rate in a copy of the recipe (toolkit recipe copy) is the usual cure",
            )
        seconds = self._trained - self._began
        row = Epoch(
            epoch=epoch + 1,
            loss=figures["loss"],
            accuracy=figures["accuracy"],
            val_loss=figures["val_loss"],
            val_accuracy=figures["val_accuracy"],
            seconds=round(seconds, 3),
            images_per_s=round(self._train.n_pictures / max(seconds, 1e-9), 1),
        )
        self.epochs.append(row)
        if len(self.epochs) == 1 or self._better(row, self.epochs[self.best]):
            self.best = len(self.epochs) - 1
            save(self._folder / BEST_WEIGHTS, self._networks.network.save_weights)
        self._save()
        self._progress.line(
            f"epoch {row.epoch}/{self._settings.epochs}  loss {row.loss:.4f}  accuracy {row.accuracy:.4f}  "
            f"val_loss {row.val_loss:.4f}  val_accuracy {row.val_accuracy:.4f}  "
            f"{row.seconds:.1f} s  {row.images_per_s:,.0f} images/s"
        )
        if self._patience_is_over():
            self.model.stop_training = True

    def restore(self) -> None:
        """Go on from the state in the folder, where there is one."""
        try:
            with (self._folder / STATE).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                fields = json.loads(str(arrays["fields"]))
                values = [arrays[f"v{i}"] for i in range(len(self._variables()))]
        except FileNotFoundError:
            return
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        self.epochs = [Epoch(**row) for row in fields["epochs"]]
        self.best = fields["best"]

    def _save(self) -> None:
        fields = json.dumps({"epochs": [asdict(row) for row in self.epochs], "best": self.best})
        arrays = {f"v{i}": v.numpy() for i, v in enumerate(self._variables())}
        with atomic_write(self._folder / STATE) as temporary, temporary.open("wb") as file:
            np.savez(file, fields=np.array(fields), **arrays)

    def _variables(self) -> list[Any]:
        """Everything that the next epoch depends on: weights, random generators, optimizer."""
        trainer = self._networks.trainer
        return [*trainer.variables, *trainer.optimizer.variables]

    def _better(self, row: Epoch, than: Epoch) -> bool:
        new, old = getattr(row, self._settings.monitor), getattr(than, self._settings.monitor)
        return bool(new > old if self._settings.monitor.endswith("accuracy") else new < old)

    def _patience_is_over(self) -> bool:
        patience = self._settings.patience
        return bool(patience) and len(self.epochs) - 1 - self.best >= patience
