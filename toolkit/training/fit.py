"""Batches -> trained weights, epoch by epoch; an interruption loses one epoch at most. Imports TensorFlow.

After each epoch everything that the next one depends on is in one file: weights, optimizer, the random generators of
dropout and augmentation, and the epochs so far. Shuffling depends on the seed and the epoch's number alone. A training
may have several stages; the state says which one it is of.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from toolkit.core.errors import MachineError, ModelError
from toolkit.core.progress import Progress
from toolkit.core.text import first_line
from toolkit.model_files.history import Epoch
from toolkit.training.data.batches import Batches
from toolkit.training.features import answering
from toolkit.training.networks.keras_model import save
from toolkit.training.recipes.recipe import Training
from toolkit.training.state import STATE, State, damaged, read_state, write_state
from toolkit.training.workspace import BEST_WEIGHTS


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training gave.

    Attributes:
        epochs: all of them, of every stage, those before an interruption included.
        best: index in `epochs` of the best one.
        notes: what was decided on the way, for the bundle.
    """

    epochs: tuple[Epoch, ...] = ()
    best: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A number of epochs of one model.

    Attributes:
        name: "" where a training has one stage.
        title: what a progress bar calls it.
        model: compiled.
        train, validation: what it is fed.
        epochs: how many.
        settings: of the whole training.
        network: what is saved; where it is None the best weights are those of `model`, and are its weights at the end.
        class_weights: class index -> weight in the loss; None for equal ones.
        before: the stages before.
    """

    name: str = ""
    title: str = "training"
    model: keras.Model
    train: Batches
    validation: Batches
    epochs: int
    settings: Training
    network: keras.Model | None
    class_weights: Mapping[int, float] | None = None
    before: Fit = Fit()


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
            f"a batch does not fit into memory ({first_line(error, 120)})",
            hint="a smaller --batch-size or --image-size",
        ) from None


def fit(stage: Stage, folder: Path, progress: Progress) -> Fit:
    """Train one stage from its state in `folder`, if one is there, else from the start.

    At the end the model holds the last epoch's weights and `folder` the best epoch's; a stage without `network` holds
    the best epoch's.

    Raises:
        ModelError: the loss is no longer a number.
    """
    recorder = _Recorder(stage, folder, progress)
    recorder.restore()
    if recorder.epochs_left():
        model, train = stage.model, stage.train
        if model.distribute_strategy.num_replicas_in_sync == 1:  # Keras cannot with several
            model.steps_per_execution = train.together  # the same to the bit, with fewer ways to Python
        try:
            model.fit(
                _dataset(train, lambda: recorder.done),
                validation_data=_dataset(stage.validation, lambda: 0),
                initial_epoch=recorder.done,
                epochs=stage.epochs,
                callbacks=[recorder],
                class_weight=dict(stage.class_weights) if stage.class_weights else None,
                shuffle=False,
                verbose=0,
            )
        finally:
            progress.finish()
    return recorder.finish()


def begun(folder: Path) -> tuple[str, Fit] | None:
    """The stage that the state in `folder` is of, and what it has reached; None where there is none.

    Raises:
        ModelError: the state is damaged.
    """
    state = read_state(folder)
    return (state.stage, Fit(state.epochs, state.best, state.notes)) if state else None


def predict(network: keras.Model, batches: Batches) -> npt.NDArray[np.float32]:
    """What `network` gives for every image of `batches`, in order: float32 (N, units)."""
    answer = answering(network, batches.dtype)
    parts = [answer(images).numpy() for chunk, _ in batches.chunks(0) for images in chunk]
    return np.concatenate(parts).astype(np.float32, copy=False)


def _dataset(batches: Batches, epoch: Callable[[], int]) -> tf.data.Dataset:
    def chunks() -> Iterator[tuple[Any, Any]]:
        return batches.chunks(epoch())

    signature = (tf.TensorSpec((None, None, *batches.shape), batches.dtype), tf.TensorSpec((None, None), tf.int64))
    dataset = tf.data.Dataset.from_generator(chunks, output_signature=signature).unbatch()
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches.n_steps)).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False  # there is nothing to tune, and its thread may take ten seconds to end
    return dataset.with_options(options)


class _Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports the progress, records each epoch, keeps the best weights, saves the state."""

    def __init__(self, stage: Stage, folder: Path, progress: Progress) -> None:
        super().__init__()
        self.epochs, self.best = list(stage.before.epochs), stage.before.best
        self._stage, self._folder, self._progress = stage, folder, progress
        self._first = len(self.epochs)
        self._best_values: list[npt.NDArray[Any]] = []  # of the model, where the stage has no network
        self._began = self._trained = self._shown = 0.0
        self._images = 0  # of this epoch

    @property
    def done(self) -> int:
        """Epochs of this stage so far."""
        return len(self.epochs) - self._first

    def epochs_left(self) -> bool:
        """Whether there is anything to train, given the epochs so far."""
        return self.done < self._stage.epochs and not self._patience_is_over()

    def finish(self) -> Fit:
        if self._best_values:
            _assign(self._stage.model.variables, self._best_values)
        if self._stage.name == "head":
            of = f", best of {self.done} epochs" if self.done > 1 else ""
            self._progress.line(f"head: {self._figures(self.epochs[self.best])}{of}")
        return Fit(tuple(self.epochs), self.best, self._stage.before.notes)

    def on_train_begin(self, logs: object = None) -> None:  # noqa: ARG002
        epochs = self._stage.epochs - self.done
        self._progress.start(self._stage.title, epochs * self._stage.train.n_images, "images")

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        self._began = time.perf_counter()
        self._images = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        train = self._stage.train
        done = min((batch + 1) * train.batch_size, train.n_images)
        self._progress.advance(done - self._images)
        self._images = done
        now = time.perf_counter()
        if logs and now - self._shown > 0.1:
            self._shown = now
            self._status(f"step {min(batch + 1, train.n_steps)}/{train.n_steps}", logs)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self._trained = time.perf_counter()
        self._status("validation", {})

    def _status(self, where: str, logs: Mapping[str, float]) -> None:
        figures = [f"{name} {logs[name]:.4f}" for name in ("loss", "accuracy") if name in logs]
        if self.epochs:
            last = self.epochs[-1]
            figures += [f"val_loss {last.val_loss:.4f}", f"val_accuracy {last.val_accuracy:.4f}"]
        self._progress.status("  ".join([f"epoch {self.done + 1}/{self._stage.epochs}", where, *figures]))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(figures["loss"]):
            raise ModelError(
                f"the loss is {figures['loss']} in epoch {epoch + 1}: the training has diverged",
                hint="a smaller learning_rate in a copy of the recipe (toolkit recipe copy) is the usual cure",
            )
        seconds = self._trained - self._began
        row = Epoch(
            epoch=len(self.epochs) + 1,
            loss=figures["loss"],
            accuracy=figures["accuracy"],
            val_loss=figures["val_loss"],
            val_accuracy=figures["val_accuracy"],
            seconds=round(seconds, 3),
            images_per_s=round(self._stage.train.n_images / max(seconds, 1e-9), 1),
            stage=self._stage.name,
        )
        self.epochs.append(row)
        if len(self.epochs) == 1 or self._better(row, self.epochs[self.best]):
            self.best = len(self.epochs) - 1
            if self._stage.network is None:
                self._best_values = [variable.numpy() for variable in self._stage.model.variables]
            else:
                save(self._folder / BEST_WEIGHTS, self._stage.network.save_weights)
        self._save()
        if self._stage.name != "head":
            self._progress.line(
                f"epoch {self.done}/{self._stage.epochs}  {self._figures(row)}  "
                f"{row.seconds:.1f} s  {row.images_per_s:,.0f} images/s"
            )
        if self._patience_is_over():
            self.model.stop_training = True

    @staticmethod
    def _figures(row: Epoch) -> str:
        return (
            f"loss {row.loss:.4f}  accuracy {row.accuracy:.4f}  "
            f"val_loss {row.val_loss:.4f}  val_accuracy {row.val_accuracy:.4f}"
        )

    def restore(self) -> None:
        """Go on from the state in the folder, where there is one of this stage.

        Raises:
            ModelError: it is damaged, or the weights of the best epoch are.
        """
        state = read_state(self._folder)
        if state is None or state.stage != self._stage.name:
            return
        n_best = 0 if self._stage.network else len(self._stage.model.variables)
        if not _fit_together(self._variables(), state.variables) or not _fit_together(
            self._stage.model.variables[:n_best], state.best_values
        ):
            raise damaged(self._folder / STATE, "it holds the weights of another network")
        if self._stage.network is not None:  # they may be wanted at the end, and are looked at now
            best = self._folder / BEST_WEIGHTS
            try:
                self._stage.network.load_weights(best)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise damaged(best, first_line(error, 120)) from None
        _assign(self._variables(), state.variables)
        self._best_values = list(state.best_values)
        self.epochs, self.best = list(state.epochs), state.best

    def _save(self) -> None:
        state = State(
            stage=self._stage.name,
            epochs=tuple(self.epochs),
            best=self.best,
            notes=self._stage.before.notes,
            variables=[variable.numpy() for variable in self._variables()],
            best_values=self._best_values,
        )
        write_state(self._folder, state)

    def _variables(self) -> list[Any]:
        """Everything that the next epoch depends on: weights, random generators, optimizer."""
        return [*self._stage.model.variables, *self._stage.model.optimizer.variables]

    def _better(self, row: Epoch, than: Epoch) -> bool:
        monitor = self._stage.settings.monitor
        new, old = getattr(row, monitor), getattr(than, monitor)
        return bool(new > old if monitor.endswith("accuracy") else new < old)

    def _patience_is_over(self) -> bool:
        patience = self._stage.settings.patience
        return bool(patience) and len(self.epochs) - 1 - max(self.best, self._first) >= patience


def _fit_together(variables: Sequence[Any], values: Sequence[npt.NDArray[Any]]) -> bool:
    """Whether there is a value for each variable, of its shape and type."""
    return [(tuple(v.shape), v.dtype) for v in variables] == [(v.shape, v.dtype.name) for v in values]


def _assign(variables: Sequence[Any], values: Sequence[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
