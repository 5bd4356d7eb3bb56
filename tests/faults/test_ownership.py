"""Nothing is overwritten that we did not write, by any command, through any kind of name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support import small
from support.command_line import Cli

from toolkit.core.errors import InputError
from toolkit.core.ownership import claim, has_columns, is_page
from toolkit.evaluation.report import evaluate
from toolkit.exporting.export_folder import export_folder
from toolkit.training.workspace import check_out, is_of_training, prepare, publish

FOREIGN = b"name,price\r\napple,1\r\n"

COMMANDS = {
    "labels.csv": ["infer", "photos", "--model", "model.onnx", "--out", "labels.csv"],
    "labels.jsonl": ["infer", "photos", "--model", "model.onnx", "--out", "labels.jsonl"],
    "labels.parquet": ["infer", "photos", "--model", "model.onnx", "--out", "labels.parquet"],
    "labels.report.csv": ["infer", "photos", "--model", "model.onnx", "--out", "labels.csv"],
    "labels.confusion.csv": ["infer", "photos", "--model", "model.onnx", "--out", "labels.csv"],
    "labels.csv.partial": ["infer", "photos", "--model", "model.onnx", "--out", "labels.csv"],
    "findings.csv": ["check", "photos", "--out", "findings.csv"],
    "findings.html": ["check", "photos", "--html", "findings.html"],
    "reports/report.html": ["evaluate", "photos", "--model", "model.onnx", "--out", "reports"],
    "mine.onnx": [
        *("adopt", "foreign.onnx", "--preset", "imagenet", "--labels", "labels.txt"),
        *("--out", "mine.onnx"),
    ],
}
"""The file in the way -> a command that writes it."""


@pytest.fixture
def place(tmp_path: Path, no_plots: None) -> Path:
    small.folders(tmp_path / "photos")
    small.model(tmp_path / "model.onnx")
    small.foreign_onnx(tmp_path / "foreign.onnx")
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(5)))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_foreign_file_is_left_untouched_and_force_replaces_it(name: str, place: Path, run: Cli) -> None:
    path = place / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(FOREIGN)
    before = small.tree(place)
    refused = run(*COMMANDS[name])
    assert refused.code == 3, refused.err
    assert name.rpartition("/")[2] in refused.err
    assert "--force" in refused.err
    assert small.tree(place) == before
    forced = run(*COMMANDS[name], "--force")
    assert forced.code == 0, forced.err
    assert not path.exists() or path.read_bytes() != FOREIGN
    again = run(*COMMANDS[name])
    assert again.code == 0, again.err


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_nothing_is_written_through_a_link_and_a_pipe_does_not_hang(
    name: str, kind: str, place: Path, run: Cli
) -> None:
    path = place / name
    path.parent.mkdir(exist_ok=True)
    target = place / "precious.txt"
    if kind == "link":
        target.write_bytes(FOREIGN)
        path.symlink_to(target)
    elif kind == "dangling link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = sorted(path.name for path in place.iterdir())
    done = run(*COMMANDS[name])
    assert done.code in (2, 3), done.err
    assert sorted(path.name for path in place.iterdir()) == before
    assert not target.exists() or target.read_bytes() == FOREIGN


@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_a_foreign_lock_is_left_untouched(kind: str, place: Path, run: Cli) -> None:
    path, target = place / "labels.csv.lock", place / "precious.txt"
    target.write_bytes(FOREIGN)
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(FOREIGN)
    done = run(*COMMANDS["labels.csv"])
    assert done.code == 3, done.err
    assert "labels.csv.lock" in done.err
    assert target.read_bytes() == FOREIGN
    assert kind != "file" or path.read_bytes() == FOREIGN


def test_what_lies_beside_reports_stays(place: Path) -> None:
    reports = place / "reports"
    reports.mkdir()
    (reports / "notes.txt").write_text("mine")
    for _ in range(2):
        evaluate(place / "photos", place / "model.onnx", reports)
        assert (reports / "notes.txt").read_text() == "mine"
        assert (reports / "report.html").is_file()
        assert not [path.name for path in reports.iterdir() if path.name.startswith(".")]


def test_an_export_replaces_only_exports(place: Path) -> None:
    bundle = small.bundle(place / "model")
    (bundle / "model.onnx").write_bytes(FOREIGN)
    with pytest.raises(InputError, match=r"model\.onnx"), export_folder(bundle, ["model.onnx"], kit=False):
        pytest.fail("never begun")
    small.model(bundle / "model.onnx")
    (bundle / "kit").mkdir()
    for name in ("samples.json", "labels.txt", "mine.txt"):
        (bundle / "kit" / name).write_text("mine")
    with export_folder(bundle, ["model.onnx"], kit=True) as folder:
        (folder / "model.onnx").write_bytes(b"new")
        (folder / "kit").mkdir()
        (folder / "kit" / "samples.json").write_text("new")
    assert (bundle / "model.onnx").read_bytes() == b"new"
    assert (bundle / "kit" / "samples.json").read_text() == "new"
    assert (bundle / "kit" / "mine.txt").read_text() == "mine"


def test_a_training_keeps_what_others_put_into_the_bundle(place: Path) -> None:
    out, partial = small.bundle(place / "model"), small.bundle(place / "model.partial")
    (out / "notes.txt").write_text("mine")
    (out / "model.onnx").write_text("of the old weights")
    check_out(out, force=True)
    publish(partial, out)
    assert sorted(path.name for path in out.iterdir()) == ["bundle.json", "notes.txt"]
    assert sorted(path.name for path in place.iterdir() if path.name.startswith((".", "model."))) == ["model.onnx"]


def test_a_folder_with_some_bundle_json_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "bundle.json").write_text('{"main": "app.js"}')
    with pytest.raises(InputError, match="not a bundle"):
        check_out(tmp_path / "site", force=True)


def test_an_empty_file_holds_nothing_to_lose(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    claim(tmp_path / "labels.csv", lambda _path: False)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b'"' * 200_000, b"path" + b"," * 300_000, b"\n\n\n"])
def test_any_bytes_may_stand_in_a_table(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"x" + text)
    with pytest.raises(InputError):
        claim(path, lambda path: has_columns(path, ("model",), first="path"))
    assert path.read_bytes() == b"x" + text


@pytest.mark.parametrize(
    "command",
    [
        ["view", "labels.csv", "--out", "page.html"],
        ["infer", "photos", "--model", "model.onnx", "--out", "other.csv", "--html", "page.html"],
    ],
)
def test_a_page_of_images_follows_the_rule(command: list[str], place: Path, run: Cli) -> None:
    assert run(*COMMANDS["labels.csv"]).code == 0
    page, precious = place / "page.html", place / "precious.html"
    page.write_bytes(FOREIGN)
    before = small.tree(place)
    refused = run(*command)
    assert refused.code == 3, refused.err
    assert "with --html" in refused.err or command[0] == "view"
    assert small.tree(place) == before
    assert run(*command, "--force").code == 0
    assert is_page(page)
    assert run(*command).code == 0
    page.rename(precious)
    page.symlink_to(precious)
    assert run(*command).code == 3
    assert run("check", "photos", "--html", "precious.html").code == 0  # a page of ours, by the same marker


@pytest.mark.parametrize("kind", ["file inside", "foreign journal", "file", "dangling link", "pipe"])
def test_a_folder_for_sorted_files_follows_the_rule(kind: str, place: Path, run: Cli) -> None:
    assert run(*COMMANDS["labels.csv"]).code == 0
    into = place / "sorted"
    if kind in ("file inside", "foreign journal"):
        into.mkdir()
        (into / ("sort.csv" if kind == "foreign journal" else "notes.txt")).write_bytes(FOREIGN)
    elif kind == "file":
        into.write_bytes(FOREIGN)
    elif kind == "pipe":
        os.mkfifo(into)
    else:
        into.symlink_to("nowhere")
    before = sorted(str(path) for path in place.rglob("*"))
    refused = run("sort", "labels.csv", "--into", "sorted")
    assert refused.code == 3, refused.err
    assert "--into" in refused.err
    assert sorted(str(path) for path in place.rglob("*")) == before
    assert run("sort", "labels.csv", "--into", "other").code == 0
    assert run("sort", "labels.csv", "--into", "other").code == 0


def test_the_folder_of_several_trainings_is_not_removed_where_it_holds_something_else(tmp_path: Path, run: Cli) -> None:
    """`<out>.trials` is removed at the end."""
    small.folders(tmp_path / "photos")
    mine = tmp_path / "model.trials" / "notes.txt"
    mine.parent.mkdir()
    small.bundle(mine.parent / "fashion")
    mine.write_text("mine")
    for more in ((), ("--force",)):
        done = run("train", "photos", "--recipe", "fashion", "--recipe", "flowers", *more)
        assert done.code == 3, done.err
        assert "model.trials: holds" in done.err
    assert mine.read_text() == "mine"
    mine.unlink()
    (mine.parent / "fashion.lock").touch()
    (mine.parent / "flowers.partial").mkdir()
    assert all(map(is_of_training, mine.parent.iterdir()))
    (mine.parent / "flowers.partial" / "mine.txt").touch()
    assert not all(map(is_of_training, mine.parent.iterdir()))


@pytest.mark.parametrize("settings", ['{"editor.fontSize": 12}', "", "[1]", "{", '{"recipe": "x"}'])
def test_settings_of_another_program_do_not_make_a_folder_ours(tmp_path: Path, settings: str) -> None:
    """`model.partial` is emptied before a training; many programs call a file settings.json."""
    partial = tmp_path / "model.partial"
    partial.mkdir()
    (partial / "settings.json").write_text(settings)
    (partial / "mine.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(InputError, match="holds something else"):
            prepare(partial, {"recipe": "x", "recipe_sha256": "y"}, resume=False, force=force)
    assert (partial / "mine.txt").read_text() == "mine"
    shutil.rmtree(partial)
    assert not prepare(partial, {"recipe": "x", "recipe_sha256": "y"}, resume=False, force=False)
    (partial / ".settings.json.abcdefgh.tmp.json").touch()  # a kill while they were written
    assert not prepare(partial, {"recipe": "x", "recipe_sha256": "y"}, resume=False, force=False)
    assert [path.name for path in partial.iterdir()] == ["settings.json"]
