"""The findings of `check` as one self-contained HTML page with thumbnails."""

from __future__ import annotations

import base64
from collections import defaultdict
from pathlib import Path
from typing import Final

import cv2
import jinja2

from toolkit.checking.check import KINDS, CheckResult, Finding
from toolkit.core.errors import InputError
from toolkit.core.ownership import PAGE_MARKER
from toolkit.core.text import printable
from toolkit.images.decode import decode
from toolkit.images.spec import Preprocess, Resize

SHOWN: Final = 60
"""Findings of one kind that the page shows; the table has all."""

_SIDE: Final = 120

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{{ marker | safe }}
<title>Check of {{ name }}</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 0 auto; padding: 1rem; }
ul { list-style: none; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
li { border: 1px solid #8886; border-radius: .5rem; padding: .5rem; overflow-wrap: anywhere; }
img { height: 120px; margin-right: .25rem; background: #8883; }
nav a { margin-right: 1rem; white-space: nowrap; }
p { margin: .25rem 0; } small { opacity: .8; }
</style></head><body>
<h1>Check of {{ name }}</h1>
<p>{{ "{:,}".format(n_files) }} files, {{ "{:,}".format(n_pictures) }} readable pictures in {{ n_classes }} classes,
{{ "{:,}".format(n_findings) }} findings.</p>
<nav aria-label="Kinds">{% for kind, n, _, _ in sections %}<a href="#{{ kind }}">{{ kind }} ({{ "{:,}".format(n) }})</a>
{% endfor %}</nav>
{% for kind, n, meaning, cards in sections %}<section><h2 id="{{ kind }}">{{ kind }}: {{ meaning }}</h2>
{% if n > cards|length %}<p>The first {{ cards|length }} of {{ "{:,}".format(n) }}; the table has all.</p>{% endif %}
<ul>{% for card in cards %}<li>{% for path, source in card.pictures %}<img src="{{ source }}" alt="{{ path }}">
{% endfor %}<p>{{ card.path }}</p>{% if card.partner %}<p>{{ card.partner }}</p>{% endif %}
<p><small>{{ card.detail }}</small></p></li>{% endfor %}</ul></section>
{% else %}<p>Nothing was found.</p>{% endfor %}
</body></html>
"""


def write_page(result: CheckResult, path: Path) -> None:
    """Write the page. Pictures are read again, for the findings that are shown."""
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for finding in result.findings:
        grouped[finding.kind].append(finding)
    shown = [finding for found in grouped.values() for finding in found[:SHOWN]]
    thumbnails = _thumbnails(result, {name for finding in shown for name in (finding.path, finding.partner)})
    sections = [
        (kind, len(grouped[kind]), meaning, [_card(finding, thumbnails) for finding in grouped[kind][:SHOWN]])
        for kind, meaning in KINDS.items()
        if kind in grouped
    ]
    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    text = page.render(
        marker=PAGE_MARKER,
        name=printable(result.source.name),
        n_files=result.n_files,
        n_pictures=sum(result.classes.values()),
        n_classes=len(result.classes),
        n_findings=len(result.findings),
        sections=sections,
    )
    path.write_text(text, encoding="utf-8")


def _card(finding: Finding, thumbnails: dict[str, str]) -> dict[str, object]:
    names = [name for name in (finding.path, finding.partner) if name in thumbnails]
    return {
        "pictures": [(printable(name), thumbnails[name]) for name in names],
        "path": printable(finding.path),
        "partner": printable(finding.partner),
        "detail": finding.detail,
    }


def _thumbnails(result: CheckResult, names: set[str]) -> dict[str, str]:
    """Name -> `data:` URL, of the pictures that can be decoded."""
    thumbnails = {}
    spec = Preprocess(height=_SIDE, width=_SIDE, resize=Resize.PAD)
    wanted = [file for file in result.source.files if file.name in names and file.problem is None]
    for file, load in result.source.loads(wanted):
        try:
            pixels = decode(load(), spec)
        except (InputError, OSError):
            continue
        encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        thumbnails[file.name] = "data:image/jpeg;base64," + base64.b64encode(encoded).decode()
    return thumbnails
