"""The place of a bundle while it is trained, without TensorFlow: names, links, damaged states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import small

from toolkit.core.errors import InputError, ModelError, UsageError
from toolkit.model_files.history import Epoch
from toolkit.training import workspace
from toolkit.training.options import TrainOptions
from toolkit.training.state import STATE, State, read_state, write_state
from toolkit.training.train import train

EPOCH = Epoch(1, 0.5, 0.75, float("nan"), 0.5, 1.0, 30.0)
WHOLE = State(stage="", epochs=(EPOCH, EPOCH), best=1, variables=(np.ones(3, np.float32), np.int64(4)))  # type: ignore[arg-type]


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    write_state(tmp_path, WHOLE)
    found = read_state(tmp_path)
    assert found is not None
    assert (found.stage, repr(found.epochs), found.best) == ("", repr(WHOLE.epochs), 1)
    assert [value.tolist() for value in found.variables] == [[1.0, 1.0, 1.0], 4]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _say(fields: str) -> Callable[[Path], None]:
    return lambda path: np.savez(path, fields=np.array(fields))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _flip,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"junk"),
        lambda path: np.savez(path, v0=np.ones(3)),
        lambda path: np.savez(path, fields=np.array(["x", None], object)),
        _say("[]"),
        _say('{"stage": ""}'),
        _say('{"stage": "", "epochs": [{"epoch": 1}], "best": 0, "notes": {}}'),
        _say('{"stage": "", "epochs": [], "best": 0, "notes": {}}'),
        _say("[" * 100_000),
    ],
)
def test_a_damaged_state_is_named(damage: Callable[[Path], object], tmp_path: Path) -> None:
    """Before TensorFlow is loaded, in an unfinished training and in a finished bundle."""
    settings = {"recipe": "tiny", "recipe_sha256": "0"}
    out, partial = tmp_path / "model", tmp_path / "model.partial"
    for folder in (out, partial):
        workspace.prepare(folder, settings, resume=False, force=False)
        write_state(folder, WHOLE)
        damage(folder / STATE)
    with pytest.raises(ModelError, match=r"model\.partial/state\.npz: damaged") as caught:
        workspace.prepare(partial, settings, resume=True, force=False)
    assert "--force without --resume" in caught.value.hint
    kept = (partial / STATE).read_bytes()
    with pytest.raises(ModelError, match=r"model/state\.npz: damaged"):
        workspace.prepare_longer(partial, out, settings)
    assert (partial / STATE).read_bytes() == kept


@pytest.mark.parametrize("out", ["", ".", "/", "..", "a/.."])
def test_a_place_that_cannot_be_replaced_is_wrong_usage(out: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name of a folder"):
        train(tmp_path, TrainOptions(out=Path(out)))


def test_a_link_is_followed(tmp_path: Path) -> None:
    small.bundle(tmp_path / "model")
    for name, target in (("whole", "model"), ("empty", "nothing"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    assert workspace.place_of(tmp_path / "whole") == tmp_path.resolve() / "model"
    assert workspace.place_of(tmp_path / "empty") == tmp_path.resolve() / "nothing"
    with pytest.raises(InputError, match="loop: expected a folder or nothing, found a link"):
        workspace.place_of(tmp_path / "loop")


def test_what_lies_where_the_training_would_work_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.partial").symlink_to("elsewhere")
    (tmp_path / "b.partial").write_text("mine")
    for name, found in (("a", "a link to elsewhere"), ("b", "a file")):
        with pytest.raises(InputError, match=rf"{name}\.partial: expected a folder or nothing, found {found}"):
            train(tmp_path / "no images", TrainOptions(out=tmp_path / name, force=True))
    assert (tmp_path / "a.partial").is_symlink()
    assert (tmp_path / "b.partial").read_text() == "mine"
