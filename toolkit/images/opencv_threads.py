"""OpenCV's own threads, beside ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from toolkit.images.native_messages import unheard


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Context of a pipeline: OpenCV starts no threads beside the workers, its codecs print nothing; then as before."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with unheard:
            yield
    finally:
        cv2.setNumThreads(before)
