"""Detections of MegaDetector: where in an image an animal, a person or a vehicle was seen, and how surely.

The format is https://lila.science/megadetector-output-format: `images`, each with its `file` and its `detections`,
whose `bbox` is left, top, width and height as shares of the upright image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from toolkit.core.errors import InputError
from toolkit.core.files import regular
from toolkit.core.parse import parse_json, share
from toolkit.core.text import printable
from toolkit.data.walk import Detection, Sample, is_unreadable_folder, slashes
from toolkit.images.decode import Box

MAX_BOXES: Final = 1_000
"""Detectors give some hundred at most; each is decoded by itself."""

DECIMALS: Final = 6
"""To which boxes and confidences are rounded, so that a table holds them exactly."""

_FORMAT: Final = "https://lila.science/megadetector-output-format says what such a file holds"


@dataclass(frozen=True, slots=True)
class Detections:
    """The detections of one file, for the inputs of one run.

    Attributes:
        name: of the file, for messages.
        by_file: the image as the file names it, with forward slashes -> its detections, the surest first.
        failures: images that the detector could not read -> why.
        bases: absolute folders, with a separator at their end, from which the names in the file may start.
    """

    name: str
    by_file: dict[str, tuple[Detection, ...]]
    failures: dict[str, str]
    bases: tuple[str, ...]

    def of(self, sample: Sample) -> Iterator[Sample]:
        """The image once for each of its detections; once without one where none is to be labelled or known."""
        if is_unreadable_folder(sample.path):
            yield sample
            return
        for name in self._names(sample.path):
            if (failure := self.failures.get(name)) is not None:
                yield sample._replace(detection=Detection(problem=f"the detector failed: {failure}"))
                return
            if (found := self.by_file.get(name)) is not None:
                if len(found) > MAX_BOXES:
                    many = f"{len(found):,} detections in one image, {MAX_BOXES:,} are the most"
                    found = (Detection(problem=f"{many}; --min-detection takes fewer"),)
                for detection in found or (Detection(),):
                    yield sample._replace(detection=detection)
                return
        yield sample._replace(detection=Detection(problem=f"not in {self.name}: nothing is known of detections in it"))

    def _names(self, path: str) -> Iterator[str]:
        whole = os.path.abspath(path)
        yield from (slashes(whole[len(base) :]) for base in self.bases if whole.startswith(base))
        yield slashes(whole)


def read_detections(path: Path, min_confidence: float, inputs: Iterable[str]) -> Detections:
    """The detections of a MegaDetector file.

    Args:
        path: the .json file.
        min_confidence: detections below it are left out, 0..1.
        inputs: the files and folders of the run. A name in the file may start from one of these folders or the
            folder of one of these files, from the working directory or from the folder of `path`, or be absolute.

    Raises:
        InputError: no such file, no JSON, or none of the format.
    """
    shown = printable(str(path))
    try:
        content = parse_json(regular(path).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{shown}: expected detections, found nothing", hint="check --detections") from None
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror})", hint="check --detections") from None
    except ValueError as error:
        raise InputError(f"{shown}: no JSON ({error})", hint=_FORMAT) from None
    by_file: dict[str, tuple[Detection, ...]] = {}
    failures: dict[str, str] = {}
    try:
        categories = {str(key): str(name) for key, name in content["detection_categories"].items()}
        for image in content["images"]:
            name = os.path.normpath(str(image["file"]).replace("\\", "/"))
            if image.get("failure") or image.get("detections") is None:
                failures[name] = printable(str(image.get("failure") or "it gives no detections"))
            else:
                found = [_detection(fields, categories) for fields in image["detections"]]
                kept = [one for one in found if one.box is not None and one.confidence >= min_confidence]
                kept += by_file.get(name, ())  # an image that is named twice has the detections of both
                by_file[name] = tuple(sorted(kept, key=lambda one: -one.confidence))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(
            f"{shown}: expected the detections of MegaDetector; this is damaged or something else ({error!r})",
            hint=_FORMAT,
        ) from None
    named = [place if os.path.isdir(place) else os.path.dirname(place) for place in inputs]
    folders = [*named, "", str(path.parent)]
    bases = dict.fromkeys(os.path.join(os.path.abspath(folder), "") for folder in folders)
    failures = {name: reason for name, reason in failures.items() if name not in by_file}
    return Detections(printable(path.name), by_file, failures, tuple(bases))


def _detection(fields: dict[str, Any], categories: dict[str, str]) -> Detection:
    """One detection; without a box where its category is none of the file's, which the format calls no detection."""
    confidence = round(share(fields["conf"]), DECIMALS)
    left, top, width, height = map(float, fields["bbox"])
    category = categories.get(str(fields["category"]))
    if category is None or round(width, DECIMALS) <= 0 or round(height, DECIMALS) <= 0:
        return Detection()
    return Detection(printable(category), confidence, box_inside(left, top, width, height))


def box_inside(left: float, top: float, width: float, height: float) -> Box:
    """The part of a box that lies in the image, in shares of it; a detector's boxes may reach a little beyond.

    Raises:
        ValueError: these are no shares, or nothing of the box lies in the image.

    >>> box_inside(-0.25, 0.5, 0.5, 0.75)
    (0.0, 0.5, 0.25, 0.5)
    """
    left, width = _inside(left, width)
    top, height = _inside(top, height)
    return left, top, width, height


def _inside(start: float, length: float) -> tuple[float, float]:
    first, last = round(max(start, 0.0), DECIMALS), min(start + length, 1.0)
    inner = round(last - first, DECIMALS)
    if not (-1 <= start <= 2 and 0 < length <= 2 and inner > 0):
        raise ValueError(f"a box from {start} to {start + length}: expected shares of the image, 0 to 1")
    return first, inner
