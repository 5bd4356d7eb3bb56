"""Result tables written directly, with the images that they are about."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

COLUMNS = ("path", "label", "confidence", "truth", "status", "error", "size", "mtime_ns", "model")


def write_image(path: Path, colour: tuple[int, int, int] = (200, 60, 60), size: tuple[int, int] = (48, 64)) -> Path:
    """A plain image, (height, width) = `size`, with a frame so that no two sizes look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), colour[::-1], np.uint8)
    pixels[:3] = 255 - pixels[:3]
    done, data = cv2.imencode(path.suffix, pixels)
    assert done
    path.write_bytes(data.tobytes())
    return path


def row(
    path: str, label: str, confidence: float | None, status: str = "ok", *, truth: str = "", error: str = ""
) -> dict[str, str]:
    """A row as `infer` writes it."""
    shown = "" if confidence is None else f"{confidence:.6f}"
    values = (path, label, shown, truth, status, error, "1", "1", "0123456789ab")
    return dict(zip(COLUMNS, values, strict=True))


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    """A CSV as `infer` writes it."""
    columns = list(rows[0]) if rows else list(COLUMNS)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path
