# The verbs of development; `just` (https://just.systems, also `pip install rust-just`) lists them.
set shell := ["bash", "-uc"]
python := ".venv/bin/python"

_default:
    @just --list

# A fresh environment with everything that the tests need
setup:
    python3 -m venv .venv && {{python}} -m pip install -q -e '.[dev]'

# The default tests, about ten minutes on two cores; `just test tests/data -k walk` runs some of them
test *arguments:
    {{python}} -m pytest {{arguments}}

# The long tests: faults, accuracy, browsers, whole commands
slow *arguments:
    {{python}} -m pytest -m slow {{arguments}}

# Style, types, layers
lint:
    .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

# Mend what can be mended by itself
format:
    .venv/bin/ruff check --fix . && .venv/bin/ruff format .

# Inference against its bound, on images of yours: `just bench model photos/`
bench model photos *arguments:
    {{python}} tools/bench_infer.py {{model}} {{photos}} {{arguments}}

# Bring the generated parts of the pages up to date and build the site into site/
docs:
    {{python}} tools/update_docs.py
    NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build -q

# Make the README's images anew, from a real run (a minute and a half)
screenshots:
    {{python}} tools/make_screenshots.py

# Everything that must hold before a change is taken
ci:
    bash .ci/run

# Cut a release: the version in one place, the changelog's section dated, sdist and wheel built and checked
release version *options:
    {{python}} tools/release.py {{version}} {{options}}
