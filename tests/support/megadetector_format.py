"""The rules of https://lila.science/megadetector-output-format, as its validator checks them."""

from __future__ import annotations

from typing import Any


def problems(content: Any) -> list[str]:
    """What is wrong with a file of this format; empty for a good one."""
    try:
        return [*_info(content["info"]), *_categories(content), *_images(content)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [repr(error)]


def _info(info: dict[str, Any]) -> list[str]:
    version = info["format_version"]
    return [] if isinstance(version, str) and float(version) >= 1.3 else [f"version {version!r}"]


def _categories(content: dict[str, Any]) -> list[str]:
    wrong = []
    for kind in ("detection_categories", "classification_categories"):
        for number, name in content.get(kind, {}).items():
            if int(number) < 0 or not isinstance(name, str) or not name:
                wrong.append(f"{kind}: {number!r}: {name!r}")
    content["detection_categories"]
    return wrong


def _images(content: dict[str, Any]) -> list[str]:
    wrong = []
    for image in content["images"]:
        name, detections, failure = image["file"], image["detections"], image.get("failure")
        if failure is not None and (not isinstance(failure, str) or detections is not None):
            wrong.append(f"{name}: failed, with detections")
        if failure is None and not isinstance(detections, list):
            wrong.append(f"{name}: no detections")
        for detection in detections or ():
            wrong += [f"{name}: {text}" for text in _detection(detection, content)]
    return wrong


def _detection(detection: dict[str, Any], content: dict[str, Any]) -> list[str]:
    wrong = []
    if detection["category"] not in content["detection_categories"]:
        wrong.append(f"category {detection['category']!r}")
    if not isinstance(detection["conf"], float) or not 0 <= detection["conf"] <= 1:
        wrong.append(f"conf {detection['conf']!r}")
    left, top, width, height = detection["bbox"]
    if min(left, top) < 0 or left + width > 1.001 or top + height > 1.001:
        wrong.append(f"bbox {detection['bbox']!r}")
    confidences = []
    for number, confidence in detection.get("classifications", ()):
        if not isinstance(number, str) or number not in content["classification_categories"]:
            wrong.append(f"classification {number!r}")
        confidences.append(float(confidence))
    if confidences != sorted(confidences, reverse=True):
        wrong.append("classifications are not in descending order")
    return wrong
