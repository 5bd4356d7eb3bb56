"""HTML pages that need no other file: templates, the style that all share, and the policy that lets nothing out."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import jinja2

PAGE_CSS: Final = ("toolkit.core", "page.css")
"""The style of every page."""


def environment(package: str) -> jinja2.Environment:
    """The templates of `package`; what they are given is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def resource(package: str, name: str) -> str:
    """The text of a file beside the templates of `package`."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """What a page's policy (CSP) says about the one script that it may run: base64 of SHA-256."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
