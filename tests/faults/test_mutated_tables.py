"""Every table and file of ours that is read back, mutated: read, or refused with a message; never another exception."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import small

from toolkit.core.errors import ToolkitError
from toolkit.data.detections import read_detections
from toolkit.data.label_table import LabelTables, labels_in
from toolkit.embedding.embed import embed
from toolkit.embedding.feature_files import read_features
from toolkit.inference.distributed.shard import Shard
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.saved_results import SavedResults
from toolkit.model_files.bundle import DataRow, load_bundle, write_data_csv
from toolkit.reviewing.corrections import Correction, Corrections, read_corrections
from toolkit.reviewing.label_studio import read_annotations
from toolkit.scaling.merge import merge
from toolkit.sorting.journal import read_journal
from toolkit.sorting.sort import SortOptions, sort
from toolkit.splitting.options import SplitOptions
from toolkit.splitting.place import read_earlier
from toolkit.splitting.split import split

Record = Callable[[str, object], None]
INPUTS = Inputs(paths=("photos",))
MODEL = Path("model.onnx")
OPTIONS = InferOptions(device="cpu", workers=1, probabilities=True)
EXPORT = [
    {
        "data": {"image": "x", "path": "photos/Cat/0.png", "label": "Cat"},
        "annotations": [{"result": [{"type": "choices", "value": {"choices": ["Dog"]}}], "was_cancelled": False}],
    }
]
DETECTIONS = {
    "detection_categories": {"1": "animal"},
    "images": [{"file": "photos/Cat/0.png", "detections": [{"category": "1", "conf": 0.9, "bbox": [0, 0, 0.5, 1]}]}],
}

PIECES = [
    *(b"null", b"NaN", b"1e999", b"-1", b"\\ud800", b'"', b"{", b"]", b"\0", b"\xff", b"0", b"9" * 400, b"true", b"[]"),
    *(b"{}", b"\r\n", b",", b";", b"\xef\xbb\xbf", b"../", b"'="),
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes cut out, replaced, or repeated elsewhere."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, other = (rng.randrange(len(found) + 1) for _ in range(2))
        kind = rng.randrange(4)
        if kind == 0:
            del found[at : at + rng.randint(1, 50)]
        elif kind == 1:
            found[at : at + rng.choice([0, 1, 5])] = rng.choice(PIECES)
        elif kind == 2:
            found[at : at + 1] = bytes([rng.randrange(256)])
        else:
            found[at:at] = found[other : other + rng.randint(1, 60)]
    return bytes(found)


def results(path: Path) -> None:
    for row in SavedResults(path):
        row.path.encode()
        assert row.confidence is None or 0 <= row.confidence <= 1


def update(path: Path) -> None:
    infer(INPUTS, path, MODEL, replace(OPTIONS, update=True, force=True))
    results(path)


def merged(path: Path) -> None:
    merge([path if path.suffix == ".csv" else Path("part-1.csv"), Path("part-2.csv")], Path("merged.csv"))
    results(Path("merged.csv"))


READERS: dict[str, tuple[Callable[[Path], object], int]] = {
    "labels.csv": (results, 150),
    "labels.jsonl": (results, 150),
    "labels.json": (results, 150),
    "labels.parquet": (results, 150),
    "again.csv": (update, 25),
    "again.json": (update, 25),
    "again.parquet": (update, 25),
    "part-1.csv": (merged, 50),
    "part-1.shard": (merged, 50),
    "features.csv": (lambda path: list(read_features(path)), 100),
    "features.npy": (lambda path: list(read_features(path)), 100),
    "features.rows.csv": (lambda _: list(read_features(Path("features.npy"))), 100),
    "features.parquet": (lambda path: list(read_features(path)), 100),
    "corrections.csv": (read_corrections, 150),
    "table.csv": (lambda path: labels_in(Path("photos"), LabelTables.parse([path])), 150),
    "detections.json": (lambda path: read_detections(path, 0.1, ["photos"]), 150),
    "export.json": (read_annotations, 150),
    "sorted/sort.csv": (lambda path: read_journal(path.parent), 150),
    "parts/split.csv": (lambda path: read_earlier(path.parent), 100),
    "parts/split.json": (lambda path: read_earlier(path.parent), 100),
    "bundle/data.csv": (lambda path: load_bundle(path.parent).rows(), 100),
    "bundle/bundle.json": (lambda path: load_bundle(path.parent), 100),
}
"""File -> what reads it, and how often it is mutated in the slow tests."""
FAST = 0.2
"""The share of them in the default tests."""


def make(name: str) -> None:
    """The file, whole, and what belongs to it."""
    stem, path = name.partition(".")[0], Path(name)
    if stem in ("labels", "again"):
        infer(INPUTS, path, MODEL, OPTIONS)
    elif stem == "part-1":
        for k in (1, 2):
            infer(replace(INPUTS, shard=Shard(k, 2)), Path(f"part-{k}.csv"), MODEL, OPTIONS)
    elif stem == "features":
        embed(INPUTS, Path("features.npy") if name == "features.rows.csv" else path, MODEL, OPTIONS)
    elif stem == "corrections":
        Corrections(path).add(Correction(f"photos/Cat/{i}.png", "Dog", "Cat", "2026-01-01T00:00:00Z") for i in range(3))
    elif stem == "table":
        path.write_text("file_name,label\nCat/0.png,Cat\nDog/0.png,Dog\n")
    elif stem in ("detections", "export"):
        path.write_text(json.dumps(DETECTIONS if stem == "detections" else EXPORT))
    elif stem == "sorted/sort":
        infer(INPUTS, Path("labels.csv"), MODEL, OPTIONS)
        sort(Path("labels.csv"), SortOptions(into=path.parent))
    elif stem == "parts/split":
        split(Path("photos"), SplitOptions(out=path.parent))
    else:
        small.bundle(path.parent)
        write_data_csv(path.parent / "data.csv", [DataRow("Cat/0.png", "Cat", "train", "", "0")])


@pytest.mark.parametrize("share", [FAST, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_mutations(
    record_property: Record, name: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small.folders(tmp_path / "photos", 2)
    small.model(tmp_path / "model.onnx")
    read, n = READERS[name][0], round(share * READERS[name][1])
    make(name)
    read(Path(name))
    whole = Path(name).read_bytes()
    rng = random.Random(name)
    codes = set()
    for _ in range(n):
        data = mutated(whole, rng)
        Path(name).write_bytes(data)
        try:
            read(Path(name))
        except ToolkitError as error:
            codes.add(error.exit_code)
        except Exception as error:
            error.add_note(f"{name}: {data[:3000]!r}")
            raise
    record_property("cases", n)
    assert codes <= {2, 3, 4}
    assert codes or name.startswith("again")
