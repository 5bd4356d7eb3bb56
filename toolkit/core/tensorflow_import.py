"""TensorFlow is slow to import: in the background, and without the collector of cyclic garbage."""

from __future__ import annotations

import gc
import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from toolkit.core.errors import missing_extra


@contextmanager
def without_collector() -> Iterator[None]:
    """Imports in this block take a fifth less time, and the process ends sooner.

    The collector would look through their million objects again and again, and once more at the end.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class BackgroundImport:
    """Imports modules in a thread.

    Args:
        names: of the modules.
        purpose: what TensorFlow is needed for, a word.
    """

    def __init__(self, *names: str, purpose: str) -> None:
        self._names, self._purpose = names, purpose
        self._failure: BaseException | None = None
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with without_collector():
                for name in self._names:
                    importlib.import_module(name)
        except BaseException as error:
            self._failure = error

    def wait(self) -> None:
        """Until they are imported.

        Raises:
            MachineError: TensorFlow is not installed.
        """
        self._thread.join()
        if isinstance(self._failure, ModuleNotFoundError) and self._failure.name in ("tensorflow", "keras", "h5py"):
            raise missing_extra("tensorflow", "train", self._purpose) from None
        if self._failure is not None:
            raise self._failure
