"""Tasks for Label Studio, and its export taken back."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Cli, run_cli
from support.result_files import row, write_table

from toolkit.core.errors import InputError
from toolkit.reviewing.corrections import read_corrections
from toolkit.reviewing.label_studio import read_annotations

HOSTILE = 'a "b" & <c>.jpg'


@pytest.fixture
def tasks(tmp_path: Path) -> list[dict[str, Any]]:
    """The tasks of four rows, one of which failed."""
    rows = [
        row(HOSTILE, 'Cat & "<Dog>"', 0.9),
        row("u.jpg", "", 0.4, "unsure"),
        row("x.jpg", "Dog", 0.8),
        row("e.jpg", "", None, "error"),
    ]
    write_table(tmp_path / "labels.csv", rows)
    done = run_cli("review", "labels.csv", "--to", "label-studio", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "label-studio.json: 3 tasks; label-studio.xml: the labelling set-up\n")
    found: list[dict[str, Any]] = json.loads((tmp_path / "label-studio.json").read_text())
    return found


def annotated(task: dict[str, Any], *labels: str | None) -> dict[str, Any]:
    """The task as Label Studio exports it, with an annotation for each label; None: skipped."""

    def annotation(label: str | None) -> dict[str, Any]:
        result = {"type": "choices", "value": {"choices": [label]}, "from_name": "label", "to_name": "image"}
        return {"result": [result] if label else [], "was_cancelled": label is None}

    return task | {"id": 7, "annotations": [annotation(label) for label in labels]}


def test_tasks(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    assert [task["data"]["path"] for task in tasks] == ["u.jpg", "x.jpg", HOSTILE]
    assert tasks[2]["data"]["image"] == "/data/local-files/?d=a%20%22b%22%20%26%20%3Cc%3E.jpg"
    assert "predictions" not in tasks[0]
    assert tasks[1]["predictions"][0]["score"] == 0.8
    assert tasks[2]["predictions"][0]["result"][0]["value"] == {"choices": ['Cat & "<Dog>"']}
    choices = ET.parse(tmp_path / "label-studio.xml").getroot().findall(".//Choice")
    assert [choice.get("value") for choice in choices] == ['Cat & "<Dog>"', "Dog"]


@pytest.mark.parametrize("name", ["photo.json", "photo.xml", "export.json"])
def test_what_is_not_ours_is_left_untouched(tasks: list[dict[str, Any]], tmp_path: Path, name: str) -> None:
    exported = json.dumps([annotated(task, "Cat") for task in tasks])
    for content in (b"\xff\xd8\xff\xe0", b"[1, 2]", b'["", {}]', b"<View></View>", exported.encode()):
        (tmp_path / name).write_bytes(content)
        file = Path(name).with_suffix(".json")
        done = run_cli("review", "labels.csv", "--to", "label-studio", "--file", file, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{name}: exists, and toolkit did not write it" in done.stderr
        assert (tmp_path / name).read_bytes() == content
        assert name == file.name or not (tmp_path / file).exists()


def test_tasks_are_written_again(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    before = (tmp_path / "label-studio.json").read_bytes()
    assert run_cli("review", "labels.csv", "--to", "label-studio", cwd=tmp_path).returncode == 0
    assert (tmp_path / "label-studio.json").read_bytes() == before


def test_decisions_come_back(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    foreign = {"data": {"path": "other.jpg", "label": ""}}
    export = [
        annotated(tasks[0], "Cat", "Dog"),
        annotated(tasks[1], None),
        annotated(tasks[2], ""),
        annotated(foreign, "x"),
    ]
    (tmp_path / "export.json").write_text(json.dumps(export))
    line = ("review", "labels.csv", "--from", "label-studio", "--file", "export.json")
    done = run_cli(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not in labels.csv: other.jpg" in done.stderr
    assert "corrections.csv: 2 decisions taken from export.json" in done.stderr
    found = {c.file_name: (c.label, c.was) for c in read_corrections(tmp_path / "corrections.csv")}
    assert found == {"u.jpg": ("Dog", ""), HOSTILE: ("", 'Cat & "<Dog>"')}


def test_tasks_without_a_decision_are_called_so(tmp_path: Path, run: Cli) -> None:
    write_table(tmp_path / "labels.csv", [row("a.jpg", "Cat", 0.9)])
    assert run("review", "labels.csv", "--to", "label-studio").code == 0
    done = run("review", "labels.csv", "--from", "label-studio")
    assert done.code == 3
    assert "the tasks that toolkit review --to label-studio wrote, without a decision" in done.err
    assert "name that file with --file" in done.err


@pytest.mark.parametrize("content", ["", "{}x", '[{"image": "x", "choice": "Cat"}]', "[1]", '{"a": 1}', "3"])
def test_what_is_no_export(tmp_path: Path, content: str) -> None:
    (tmp_path / "export.json").write_text(content)
    with pytest.raises(InputError):
        read_annotations(tmp_path / "export.json")
