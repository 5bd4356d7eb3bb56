"""train, evaluate and export agree on the subsets of one tree, and on what is an image in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.onnx_networks import contract
from support.result_files import write_image

from toolkit.data.passed_over import PassedOver
from toolkit.data.split_tree import FOLDERS, find_split_tree, subset_of
from toolkit.data.walk import is_image, walk
from toolkit.evaluation.evaluate import held_out
from toolkit.exporting.load import labelled
from toolkit.inference.inputs import Inputs
from toolkit.training.data.dataset import find_dataset

TREES = [
    ("train", "validation"),
    ("training", "testing"),
    ("Train", "Val"),
    ("train", "val", "test"),
    ("training", "valid", "testing"),
    ("TRAIN", "TEST"),
]


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for folder in request.param:
        for label in ("Cat", "Dog"):
            write_image(tmp_path / "tree" / folder / label / f"{folder}.png")
    return tmp_path / "tree"


@pytest.mark.parametrize("tree", TREES, indirect=True, ids="-".join)
def test_one_tree_has_the_same_subsets_everywhere(tree: Path) -> None:
    found = find_split_tree(tree)
    assert found is not None
    dataset = find_dataset(tree)
    trained = {sample.path for sample in dataset.samples if sample.subset == "train"}
    validated = {sample.path for sample in dataset.samples if sample.subset == "validation"}
    judged = held_out(tree, ("Cat", "Dog"))
    assert dataset.split
    assert {Path(path).parts[0] for path in trained} == {found.train.name}
    assert {Path(path).parts[0] for path in validated} == {found.for_validation.name}
    assert judged == found.for_evaluation
    verified = labelled(tree, contract())
    assert {image.path.relative_to(tree).parts[0] for image in verified} == {judged.name}
    assert judged != found.train
    assert subset_of(judged.name) == ("test" if found.test else "validation")


def test_every_name_of_a_subset_is_known_in_any_case() -> None:
    for subset, names in FOLDERS.items():
        assert {subset_of(spelled) for name in names for spelled in (name, name.upper(), name.title())} == {subset}
    assert subset_of("Cat") == ""


@pytest.mark.parametrize("folders", [("train",), ("validation", "test"), ("Cat", "Dog"), ()])
def test_no_split_tree(folders: tuple[str, ...], tmp_path: Path) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert find_split_tree(tmp_path) is None


def test_files_without_a_suffix_are_seen_by_all(tmp_path: Path) -> None:
    for subset in ("train", "validation"):
        for label in ("Cat", "Dog"):
            folder = tmp_path / subset / label
            write_image(folder / "a.png").rename(folder / "without")
            (folder / "notes").write_text("no image")
            (folder / "notes.txt").write_text("no image")
    dataset = find_dataset(tmp_path)
    assert [Path(sample.path).name for sample in dataset.samples] == ["without"] * 4
    assert {image.path.name for image in labelled(tmp_path, contract())} == {"without"}
    inferred = [sample.name for sample in Inputs(paths=(str(tmp_path),)).samples(PassedOver())]
    assert [Path(name).name for name in inferred] == ["without"] * 4
    seen = [place for place in walk(str(tmp_path)) if is_image(str(tmp_path / place))]
    assert sorted(str(tmp_path / place) for place in seen) == sorted(inferred)
