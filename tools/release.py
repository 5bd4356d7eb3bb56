"""Cut a release: `python tools/release.py 0.2.0`

Sets the version (its one place is `toolkit/__init__.py`), gives the changelog's section "Unreleased" the version and
the date, builds sdist and wheel into `dist/`, and checks that both hold what they should. It commits, tags and uploads
nothing; it prints the commands for that.

A package index shows the README without the files beside it. With `--pages https://HOST/OWNER/NAME/blob/v0.2.0`, the
README in both archives links to the pages and images there; without it these links lead nowhere on the index.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
UNRELEASED: Final = "## Unreleased\n"


def cut_changelog(text: str, version: str, day: dt.date) -> str:
    """The changelog with its section "Unreleased" named, and a new empty one above it.

    >>> print(cut_changelog("# Changelog\\n\\n## Unreleased\\n\\n- new\\n", "1.0", dt.date(2026, 1, 2)))
    # Changelog
    <BLANKLINE>
    ## Unreleased
    <BLANKLINE>
    ## 1.0 (2026-01-02)
    <BLANKLINE>
    - new
    <BLANKLINE>

    Raises:
        SystemExit: no section "Unreleased", nothing in it, or the version is there already.
    """
    if text.count(UNRELEASED) != 1:
        raise SystemExit('CHANGELOG.md: expected one section "## Unreleased"')
    if f"## {version} (" in text:
        raise SystemExit(f"CHANGELOG.md: {version} is there already")
    changes = text.split(UNRELEASED)[1].split("\n## ", maxsplit=1)[0]
    if not changes.strip():
        raise SystemExit("CHANGELOG.md: nothing is unreleased")
    if re.search(rf"^## {re.escape(version)}(?: |$)", text, re.MULTILINE):
        raise SystemExit(f"CHANGELOG.md: {version} is there already; expected a newer version")
    return text.replace(UNRELEASED, f"{UNRELEASED}\n## {version} ({day.isoformat()})\n")


def set_version(text: str, version: str) -> str:
    """`toolkit/__init__.py` with another version.

    Raises:
        SystemExit: no version like 1.2.3 is given, or the file has none.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?", version):
        raise SystemExit(f"{version}: expected a version such as 0.2.0 or 0.2.0rc1")
    changed, n = VERSION.subn(f'__version__ = "{version}"', text)
    if n != 1:
        raise SystemExit("toolkit/__init__.py: expected one line __version__ = …")
    return changed


def absolute_links(text: str, pages: str) -> str:
    """The README with links that hold elsewhere: files under `pages`, images under the same address with `/raw/`.

    >>> absolute_links("![a](docs/a.png) [b](docs/b.md#c) [d](#e)", "https://host/me/it/blob/v1/")
    '![a](https://host/me/it/raw/v1/docs/a.png) [b](https://host/me/it/blob/v1/docs/b.md#c) [d](#e)'
    """
    pages = pages.rstrip("/")

    def absolute(link: re.Match[str]) -> str:
        image, words, target = link.groups()
        return f"{image}[{words}]({pages.replace('/blob/', '/raw/') if image else pages}/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)", absolute, text)


def build(pages: str | None) -> None:
    """sdist and wheel into `dist/`; the README is put back as it was."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    try:
        if pages:
            readme.write_text(absolute_links(text, pages), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "build", "--outdir", str(ROOT / "dist"), str(ROOT)], check=True)
    finally:
        readme.write_text(text, encoding="utf-8")


def check_contents(dist: Path, version: str) -> None:
    """Both archives hold the package and the recipes; the sdist the tests, the tools and the documentation too."""
    with zipfile.ZipFile(dist / f"toolkit_images-{version}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    with tarfile.open(dist / f"toolkit_images-{version}.tar.gz") as sdist:
        sources = [name.partition("/")[2] for name in sdist.getnames()]
    wanted = {"toolkit/__init__.py", "toolkit/_recipes/flowers.toml", "toolkit/py.typed"}
    wanted_sources = {"toolkit/__init__.py", "models/flowers.toml", "README.md", "CHANGELOG.md", "LICENSE"}
    missing = [*sorted(wanted - set(names)), *sorted(wanted_sources - set(sources))]
    foreign = [name for name in names if not name.startswith(("toolkit/", f"toolkit_images-{version}.dist-info/"))]
    if missing or foreign:
        raise SystemExit(f"dist: missing {missing}, foreign {foreign}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument(
        "--pages", help="where the files of this version can be read, such as https://HOST/…/blob/v0.2.0"
    )
    arguments = parser.parse_args()
    version = arguments.version
    package, changelog = ROOT / "toolkit" / "__init__.py", ROOT / "CHANGELOG.md"
    init = set_version(package.read_text(encoding="utf-8"), version)
    changes = cut_changelog(changelog.read_text(encoding="utf-8"), version, dt.datetime.now(dt.UTC).date())
    package.write_text(init, encoding="utf-8")
    changelog.write_text(changes, encoding="utf-8")
    build(arguments.pages)
    check_contents(ROOT / "dist", version)
    if not arguments.pages:
        print("No --pages was given: on a package index the README's images and links to pages do not work.")
    print(f"dist/ holds {version}. Then:\n  git commit -am 'Release {version}' && git tag v{version}")
    print(f"  python -m twine upload dist/toolkit_images-{version}*")


if __name__ == "__main__":
    main()
