"""Results as tasks for Label Studio, and what people decided there as corrections.

The format is Label Studio's basic JSON: a list of tasks with `data`, `predictions` and `annotations`
(https://labelstud.io/guide/tasks, https://labelstud.io/guide/export).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from toolkit.core.errors import InputError
from toolkit.core.files import regular, write_json, write_text
from toolkit.core.ownership import claim
from toolkit.core.parse import parse_json
from toolkit.core.text import printable
from toolkit.inference.result_table import ERROR, OK
from toolkit.inference.saved_results import SavedRow
from toolkit.reviewing.corrections import Correction, now

PREFIX: Final = "/data/local-files/?d="
"""How Label Studio names files below its LOCAL_FILES_DOCUMENT_ROOT."""

_SETUP: Final = (
    '<View>\n  <Image name="image" value="$image"/>\n  <Choices name="label" toName="image" choice="single">'
)


def write_tasks(rows: Iterable[SavedRow], labels: Sequence[str], path: Path, prefix: str = PREFIX) -> int:
    """Write a task for each readable image, with the model's answer, and the labelling set-up beside it (.xml).

    Args:
        rows: in the order of the tasks.
        labels: that can be chosen.
        path: the .json file.
        prefix: what stands before the path in the address of an image.

    Returns:
        how many tasks there are.

    Raises:
        InputError: one of the two files exists and is not what this function writes; a team's export is not, either.
    """
    claim(path, _is_tasks, force=None, option="--file")
    claim(path.with_suffix(".xml"), _is_setup, force=None, option="--file")
    tasks = [_task(row, prefix) for row in rows if row.status != ERROR]
    choices = "".join(f"\n    <Choice value={quoteattr(label)}/>" for label in labels)
    setup = f"{_SETUP}{choices}\n  </Choices>\n</View>\n"
    write_text(path.with_suffix(".xml"), setup)
    write_json(path, tasks)
    return len(tasks)


def _is_tasks(path: Path) -> bool:
    tasks = parse_json(path.read_bytes())
    return isinstance(tasks, list) and all(map(_is_task, tasks))


def _is_task(task: object) -> bool:
    if not isinstance(task, dict) or not set(task) <= {"data", "predictions"}:
        return False  # a team's export has annotations
    data = task.get("data")
    return isinstance(data, dict) and set(data) == {"image", "path", "label"}


def _is_setup(path: Path) -> bool:
    return path.read_bytes().startswith(_SETUP.encode())


def _task(row: SavedRow, prefix: str) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {"image": prefix + quote(row.path), "path": row.path, "label": row.label}}
    if row.status == OK:
        result = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [row.label]}}
        task["predictions"] = [{"model_version": "toolkit", "score": row.confidence, "result": [result]}]
    return task


def read_annotations(path: Path) -> list[Correction]:
    """What people decided about the tasks that `write_tasks` wrote; the last annotation of a task counts.

    Tasks without an annotation, and skipped ones, are left out.

    Raises:
        InputError: no such file, or no export of Label Studio.
    """
    shown = printable(str(path))
    try:
        tasks = parse_json(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{shown}: expected an export of Label Studio, found nothing", hint="see --file") from None
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror})", hint="see --file") from None
    except ValueError as error:
        raise InputError(f"{shown}: no JSON ({error})", hint="export the project as JSON") from None
    if isinstance(tasks, list) and tasks and all(map(_is_task, tasks)):
        raise InputError(
            f"{shown}: the tasks that toolkit review --to label-studio wrote, without a decision",
            hint="export the project from Label Studio as JSON, and name that file with --file",
        )
    try:
        return list(_corrections(tasks))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        raise InputError(
            f"{shown}: expected an export of the tasks that toolkit review --to label-studio wrote",
            hint="export the project as JSON, not JSON-MIN",
        ) from None


def _corrections(tasks: list[dict[str, Any]]) -> Iterator[Correction]:
    for task in tasks:
        decided = [found for found in task["annotations"] if not found.get("was_cancelled")]
        if not decided:
            continue
        chosen = [result["value"]["choices"] for result in decided[-1]["result"] if result["type"] == "choices"]
        data = task["data"]
        label = str(chosen[-1][0]) if chosen and chosen[-1] else ""
        found = Correction(str(data["path"]), label, str(data["label"]), now())
        f"{found.file_name}{label}{found.was}".encode()  # JSON can hold half a character
        yield found
