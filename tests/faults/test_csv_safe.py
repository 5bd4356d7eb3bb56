"""Names of files and classes that a spreadsheet would compute."""

from __future__ import annotations

import csv
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import onnx_networks, small
from support.command_line import Cli

from toolkit.core.errors import UsageError
from toolkit.core.progress import SilentProgress
from toolkit.core.text import no_formula, with_formula
from toolkit.inference.infer import InferResult, infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.saved_results import SavedResults

NAMES = ("=1+1.png", "+1.png", "-1.png", "@sum.png", "\t=1.png", "\r=1.png", "'=1+1.png", "'quoted.png", "plain.png")
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
SAFE = InferOptions(csv_safe=True, batch_size=2, workers=1, top_k=2)


@given(st.text(st.sampled_from("'=+-@\t\ra")))
def test_nothing_is_lost(cell: str) -> None:
    assert with_formula(no_formula(cell)) == cell
    assert not no_formula(cell).startswith(FORMULAS)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "=Cat").mkdir()
    for i, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(small.png(i) if i != 1 else b"")
        (tmp_path / "=Cat" / name).write_bytes(small.png(20 + i))
    onnx_networks.write_mean_network(tmp_path / "model.onnx", onnx_networks.contract(("=Cat", "@Dog")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def label(out: str, options: InferOptions = SAFE, *, stop_after: int | None = None) -> InferResult:
    stop = threading.Event()

    class Stopping(SilentProgress):
        def advance(self, n: int = 1) -> None:
            if stop_after is not None and n >= stop_after:
                stop.set()

    inputs = Inputs(paths=(*NAMES, "=Cat"))
    return infer(inputs, Path(out), Path("model.onnx"), options, progress=Stopping(), stop=stop)


def rows(path: str) -> list[list[str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def test_no_cell_is_a_formula(photos: Path) -> None:
    label("labels.csv")
    label("plain.csv", replace(SAFE, csv_safe=False))
    safe, plain = rows("labels.csv"), rows("plain.csv")
    assert any(cell.startswith(FORMULAS) for row in plain for cell in row)
    assert [cell for row in safe for cell in row if cell.startswith(FORMULAS)] == []
    assert [[with_formula(cell) for cell in row[:-1]] for row in safe] == [row[:-1] for row in plain]
    assert safe[1][-1] != plain[1][-1]


def test_update_and_a_stopped_run_know_their_rows(photos: Path) -> None:
    label("whole.csv")
    assert not label("labels.csv", stop_after=1).complete
    assert label("labels.csv").n_continued > 0
    assert Path("labels.csv").read_bytes() == Path("whole.csv").read_bytes()
    again = label("labels.csv", replace(SAFE, update=True))
    assert (again.n_kept, again.redone) == (2 * len(NAMES), False)
    assert label("labels.csv", replace(SAFE, csv_safe=False, update=True)).redone


def test_the_table_leads_to_the_files(photos: Path) -> None:
    label("labels.csv")
    table = SavedResults(Path("labels.csv"))
    found = [str(table.file(row)) for row in table]
    for name in ("=1+1.png", "+1.png", "-1.png", "@sum.png", "=Cat/plain.png"):
        assert name in found
    assert {row.label for row in table} <= {"=Cat", "@Dog", ""}


def test_other_tables_hold_no_formulas(photos: Path) -> None:
    with pytest.raises(UsageError, match="--csv-safe"):
        label("labels.jsonl")


def test_check_and_stdout(photos: Path, run: Cli) -> None:
    pets = small.folders(photos / "pets")
    (pets / "=Hyena").mkdir()
    (pets / "=Hyena" / "=1.png").write_bytes(b"")
    assert run("check", str(pets), "--out", "findings.csv", "--csv-safe").code == 0
    cells = [cell for row in rows("findings.csv") for cell in row]
    assert "'=Hyena/=1.png" in cells
    assert not any(cell.startswith(FORMULAS) for cell in cells)
    answer = run("infer", "./plain.png", "=1+1.png", "-m", "model.onnx", "--out", "-", "--csv-safe")
    assert answer.code == 0
    assert "'=1+1.png" in answer.out
    assert run("infer", "plain.png", "-m", "model.onnx", "--csv-safe").code == 2
