"""Pages of the site that do not lie in docs/, and links that hold both in the repository and on the site.

MkDocs loads this file (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File

ROOT: Final = Path(__file__).parent.parent
ELSEWHERE: Final = {
    "README.md": "index.md",
    "models/README.md": "accuracies.md",
    "tools/SCALING.md": "what-it-costs.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Place in the repository -> place on the site."""
LINK: Final = re.compile(r"(\]\()([^)\s:#]+)((?:#[^)\s]*)?\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere."""
    for place, name in ELSEWHERE.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Each link as it is on the site."""
    names = {name: place for place, name in ELSEWHERE.items()}
    folder = posixpath.dirname(names.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def rewrite(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, link[2]))
        return link[1] + ELSEWHERE.get(place, place.removeprefix("docs/")) + link[3]

    return LINK.sub(rewrite, markdown)
