#!/usr/bin/env bash
# Write constraints.txt: every package, with its version, that the tests of this checkout pass with on Python 3.11.
#   tools/lock.sh                                                   write it anew
#   uv pip install -e '.[dev]' --constraint constraints.txt         install exactly these
#   tools/lock.sh --lowest DIR                                      an environment with the lowest versions allowed
#   tools/lock.sh --audit                                           known weaknesses of the pinned versions
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  --lowest)
    uv venv -q --python 3.11 "$2"
    uv pip install -q --python "$2/bin/python" --resolution lowest-direct -e '.[dev]'
    echo "now: $2/bin/pytest"
    ;;
  --audit)
    uvx pip-audit --requirement constraints.txt --no-deps --disable-pip
    ;;
  *)
    uv pip compile -q --python-version 3.11 --extra dev --no-header --no-annotate --no-emit-index-url \
      --output-file constraints.txt pyproject.toml
    ;;
esac
