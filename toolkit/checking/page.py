"""The findings of `check` as one self-contained HTML page with thumbnails."""

from __future__ import annotations

import base64
from collections import defaultdict
from pathlib import Path
from typing import Final

import cv2

from toolkit.checking.check import CheckResult
from toolkit.checking.findings import KINDS, Finding
from toolkit.core import pages
from toolkit.core.errors import InputError
from toolkit.core.ownership import PAGE_MARKER
from toolkit.core.text import printable
from toolkit.images.decode import decode
from toolkit.images.limits import DEFAULT_LIMITS, Limits
from toolkit.images.spec import Preprocess, Resize

SHOWN: Final = 60
"""Findings of one kind that the page shows; the table has all."""

_SIDE: Final = 120


def write_page(result: CheckResult, path: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Write the page. Images are read again, for the findings that are shown."""
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for finding in result.findings:
        grouped[finding.kind].append(finding)
    shown = [finding for found in grouped.values() for finding in found[:SHOWN]]
    thumbnails = _thumbnails(result, {name for finding in shown for name in (finding.path, finding.partner)}, limits)
    sections = [
        (kind, len(grouped[kind]), meaning, [_card(finding, thumbnails) for finding in grouped[kind][:SHOWN]])
        for kind, meaning in KINDS.items()
        if kind in grouped
    ]
    text = (
        pages.environment(__package__)
        .get_template("check.html.j2")
        .render(
            marker=PAGE_MARKER,
            name=printable(result.source.name),
            n_files=result.n_files,
            n_images=sum(result.classes.values()),
            n_classes=len(result.classes),
            n_findings=len(result.findings),
            sections=sections,
        )
    )
    path.write_text(text, encoding="utf-8")


def _card(finding: Finding, thumbnails: dict[str, str]) -> dict[str, object]:
    names = [name for name in (finding.path, finding.partner) if name in thumbnails]
    return {
        "images": [(printable(name), thumbnails[name]) for name in names],
        "path": printable(finding.path),
        "partner": printable(finding.partner),
        "detail": finding.detail,
    }


def _thumbnails(result: CheckResult, names: set[str], limits: Limits) -> dict[str, str]:
    """Name -> `data:` URL, of the images that can be decoded."""
    thumbnails = {}
    spec = Preprocess(height=_SIDE, width=_SIDE, resize=Resize.PAD)
    wanted = [file for file in result.source.files if file.name in names and file.problem is None]
    for file, load in result.source.loads(wanted):
        try:
            with limits.unread(file.size):
                pixels = decode(load(), spec, limits=limits)
        except (InputError, OSError):
            continue
        encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        thumbnails[file.name] = "data:image/jpeg;base64," + base64.b64encode(encoded).decode()
    return thumbnails
