"""Training on class folders, on tables of labels and on archives: the same images give the same weights."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from support.command_line import Cli, run_cli
from support.result_files import write_image

from toolkit.core.errors import InputError
from toolkit.core.progress import SilentProgress
from toolkit.data.label_table import LabelTables
from toolkit.data.unpack import unpacked
from toolkit.model_files.bundle import load_bundle
from toolkit.training.data.dataset import find_dataset
from toolkit.training.options import TrainOptions
from toolkit.training.train import train

# Keras 3.15 with numpy 2.4, whenever it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Heard(SilentProgress):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 24 images as class folders, as a flat folder with a table, and as an archive with metadata.csv."""
    root = tmp_path_factory.mktemp("sources")
    lines = ["path,class"]
    for i in range(24):
        label = ("Cat", "Dog", "Eel")[i % 3]
        image = write_image(root / f"classes/{label}/{i:02}.png", (10 * i, 255 - 10 * i, 70 * (i % 3)))
        name = hashlib.sha256(str(i).encode()).hexdigest()[:8] + ".png"
        (root / "flat").mkdir(exist_ok=True)
        shutil.copy(image, root / "flat" / name)
        lines.append(f"{name},{label}")
    (root / "labels.csv").write_text("\n".join([*lines, "nowhere.png,Cat"]))
    (root / "flat/extra.png").write_bytes((root / "classes/Cat/00.png").read_bytes())
    metadata = "\n".join(["file_name,label", *lines[1:]])
    with zipfile.ZipFile(root / "photos.zip", "w") as zipped:
        zipped.writestr("photos/metadata.csv", metadata)
        for file in sorted((root / "flat").iterdir()):
            zipped.write(file, f"photos/{file.name}")
    return root


def options(out: Path, cache: Path, labels: LabelTables | None = None, *, epochs: int = 2) -> TrainOptions:
    return TrainOptions(
        recipe="flowers", out=out, epochs=epochs, image_size=(32, 32), cache_dir=cache, seed=3, labels=labels
    )


def test_the_same_weights_from_folders_a_table_and_an_archive(sources: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    heard = Heard()
    table = LabelTables.parse([sources / "labels.csv"], "path,class")
    one = train(sources / "classes", options(tmp_path / "one", cache)).bundle
    two = train(sources / "flat", options(tmp_path / "two", cache, table), heard).bundle
    three = train(sources / "photos.zip", options(tmp_path / "three", cache)).bundle
    assert one.contract.fingerprint == two.contract.fingerprint == three.contract.fingerprint
    assert one.contract.labels == two.contract.labels == ("Cat", "Dog", "Eel")
    assert "labels.csv: no such file in the dataset: nowhere.png" in heard.warnings
    assert "left out: extra.png: has no row in labels.csv" in heard.warnings
    for name in ("one", "two", "three"):
        bundle = load_bundle(tmp_path / name)
        assert {key: sum(bundle.data[key].values()) for key in ("train", "validation")} == {
            "train": 18,
            "validation": 6,
        }


def test_a_split_tree_with_a_table_in_each_subset(sources: Path, tmp_path: Path) -> None:
    for subset, numbers in (("train", range(12)), ("validation", range(12, 24))):
        lines = ["file_name,label"]
        for i in numbers:
            label = ("Cat", "Dog", "Eel")[i % 3]
            (tmp_path / subset).mkdir(exist_ok=True)
            shutil.copy(sources / f"classes/{label}/{i:02}.png", tmp_path / subset)
            lines.append(f"{i:02}.png,{label}")
        (tmp_path / subset / "metadata.csv").write_text("\n".join(lines))
    dataset = find_dataset(tmp_path)
    assert dataset.split
    assert dataset.labels == ("Cat", "Dog", "Eel")
    assert [sample.subset for sample in dataset.samples].count("train") == 12


def test_empty_classes_and_case(sources: Path, tmp_path: Path) -> None:
    shutil.copytree(sources / "classes", tmp_path / "data")
    (tmp_path / "data/Owl").mkdir()
    shutil.copytree(tmp_path / "data/Cat", tmp_path / "data/cat")
    heard = Heard()
    dataset = find_dataset(tmp_path / "data", progress=heard)
    assert dataset.labels == ("Cat", "Dog", "Eel", "cat")
    said = ["class Owl has no images; it is left out", "classes Cat and cat differ in case only"]
    assert heard.warnings == said
    with pytest.raises(InputError, match="Owl has no images"):
        find_dataset(tmp_path / "data", strict=True)
    for command in ("split", "check"):
        done = run_cli(command, "data", cwd=tmp_path)
        assert [line for line in done.stderr.splitlines() if "warning" in line][:2] == [f"warning: {s}" for s in said]
    done = run_cli("split", "data", "--out", "strict", "--strict", cwd=tmp_path)
    assert done.returncode == 3
    assert "Owl has no images" in done.stderr


def test_an_archive_is_unpacked_once_and_nothing_leads_out(sources: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        for name in ("../out.png", "in/Cat/1.png", "in/Dog/2.png", "/abs.png"):
            zipped.writestr(name, "x")
    heard = Heard()
    folder = unpacked(tmp_path / "bad.zip", tmp_path / "cache", heard)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png")) == ["Cat/1.png", "Dog/2.png"]
    assert len(heard.warnings) == 2
    assert not (tmp_path / "cache/out.png").exists()
    (folder / "Cat/1.png").write_text("kept")
    assert unpacked(tmp_path / "bad.zip", tmp_path / "cache") == folder
    assert (folder / "Cat/1.png").read_text() == "kept"
    assert unpacked(sources / "classes", tmp_path) == sources / "classes"


def test_evaluate_takes_the_truth_from_a_table(sources: Path, tmp_path: Path, no_plots: None, run: Cli) -> None:
    from support.onnx_networks import contract, write_mean_network

    write_mean_network(tmp_path / "model.onnx", contract(("Cat", "Dog", "Eel"), 32))
    labels = ("--labels", sources / "labels.csv", "--columns", "path,class")
    for name, data, more in (("a", sources / "classes", ()), ("b", sources / "flat", labels)):
        done = run("evaluate", data, "--model", "model.onnx", "--out", name, *more)
        assert done.code == 0, done.err
    one, two = ((tmp_path / name / "confusion.csv").read_text() for name in ("a", "b"))
    assert one == two
