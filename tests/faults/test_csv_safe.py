"""Names of files and classes that a spreadsheet would compute."""

from __future__ import annotations

import csv
import shutil
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
from toolkit.embedding.embed import embed
from toolkit.embedding.feature_files import read_features
from toolkit.evaluation.compare import compare
from toolkit.evaluation.result import EvaluateOptions
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.result import InferResult
from toolkit.inference.saved_results import SavedResults
from toolkit.sorting.sort import SortOptions, sort, undo
from toolkit.splitting.mode import Mode

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


def formulas(folder: Path) -> dict[str, list[str]]:
    """Table -> its cells that a spreadsheet would compute."""
    tables = {path.name: [cell for row in rows(str(path)) for cell in row] for path in folder.rglob("*.csv")}
    return {name: [c for c in cells if c.startswith(FORMULAS) and not is_number(c)] for name, cells in tables.items()}


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_report_and_confusion_beside_a_table(photos: Path) -> None:
    label("beside/labels.csv")
    assert formulas(photos / "beside") == {"labels.csv": [], "labels.report.csv": [], "labels.confusion.csv": []}
    label("beside/labels.csv", replace(SAFE, csv_safe=False, force=True))
    assert "=Cat" in formulas(photos / "beside")["labels.report.csv"]


def test_evaluate(photos: Path, no_plots: None) -> None:
    (photos / "tree").mkdir()
    (photos / "=Cat").rename(photos / "tree" / "=Cat")
    shutil.copytree(photos / "tree" / "=Cat", photos / "tree" / "@Dog")
    onnx_networks.write_mean_network(photos / "=2.onnx", onnx_networks.contract(("=Cat", "@Dog")), seed=5)
    safe = EvaluateOptions(csv_safe=True)
    compare(Path("tree"), [Path("model.onnx"), Path("=2.onnx")], Path("safe"), safe)
    compare(Path("tree"), [Path("model.onnx"), Path("=2.onnx")], Path("plain"))
    found = formulas(photos / "safe")
    assert set(found) >= {"predictions.csv", "report.csv", "confusion.csv", "compare.csv", "changed.csv"}
    assert not any(found.values())
    plain = formulas(photos / "plain")
    assert all(plain[name] for name in ("report.csv", "confusion.csv", "compare.csv"))
    kappa = [row for row in rows("safe/model/report.csv") if row[-2] == "figure"]
    assert [row[-1] for row in kappa] == [row[-1] for row in rows("plain/model/report.csv") if row[-2] == "figure"]


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_embed(suffix: str, photos: Path) -> None:
    out = Path("features", f"f{suffix}")
    inputs = Inputs(paths=(*NAMES, "=Cat"))
    embed(inputs, out, Path("model.onnx"), SAFE)
    assert not any(formulas(out.parent).values())
    embed(inputs, Path(f"plain{suffix}"), Path("model.onnx"))
    safe, plain = list(read_features(out)), list(read_features(Path(f"plain{suffix}")))
    assert [(row.path, row.error, row.model) for row in safe] == [(row.path, row.error, row.model) for row in plain]
    embed(inputs, out, Path("model.onnx"), SAFE)
    with pytest.raises(UsageError, match="--csv-safe"):
        embed(inputs, Path("f.parquet"), Path("model.onnx"), SAFE)


def test_the_journal_of_a_sort_is_always_safe(photos: Path) -> None:
    (photos / "=Cat").rename(photos / "=more")
    for name in NAMES:
        (photos / name).unlink()
    infer(Inputs(paths=("=more",)), Path("labels.csv"), Path("model.onnx"), replace(SAFE, csv_safe=False))
    before = small.tree(photos / "=more")
    done = sort(Path("labels.csv"), SortOptions(into=Path("sorted"), mode=Mode.MOVE))
    assert done.n_placed == len(NAMES)
    assert not any(formulas(photos / "sorted").values())
    assert any(cell.startswith("'=") for row in rows("sorted/sort.csv") for cell in row)
    assert sort(Path("labels.csv"), SortOptions(into=Path("sorted"), mode=Mode.MOVE)).n_there == len(NAMES)
    assert undo(Path("sorted")).n_files == len(NAMES)
    assert small.tree(photos / "=more") == before


def test_negative_numbers_are_numbers() -> None:
    for cell in ("-1", "-0.25", "-1.5e-07"):
        assert no_formula(cell) == cell
    for cell in ("-1+1", "+1", "-", "-e1", "-1\n=1"):
        assert no_formula(cell) == f"'{cell}"


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
