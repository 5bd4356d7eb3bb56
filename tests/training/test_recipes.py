"""Recipes: the documented ones, and mistakes, reported all together. No TensorFlow here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import run_cli

from toolkit.core.errors import InputError, MachineError, UsageError
from toolkit.training.recipes.recipe import RecipeError, available, copy_recipe, load_recipe, parse_recipe
from toolkit.training.recipes.recipe_schema import AUGMENTATIONS, LAYERS
from toolkit.training.recipes.shape_check import check_classes, check_memory, trace

PARAMETERS = {
    "cats-dogs-150": 9_494_561,
    "cats-dogs-300": 104_561,
    "fashion": 101_770,
    "flowers": 3_989_285,
    "flowers-augmented": 3_989_285,
    "malaria": 758_401,
    "places": 12_132_707,
}
TRANSFER = dict.fromkeys(("transfer", "transfer-best", "transfer-quick"), 3_419_429)


def test_the_documented_recipes_are_all_there() -> None:
    assert set(available()) == set(PARAMETERS | TRANSFER)


@pytest.mark.parametrize("name", PARAMETERS | TRANSFER)
def test_parameters_are_told_without_tensorflow(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert (
        sum(step.parameters for step in trace(recipe, recipe.classes))
        == (PARAMETERS | TRANSFER)[name]
        == recipe.parameters
    )


def test_places_keeps_its_order_of_classes() -> None:
    assert load_recipe("places").labels == ("food", "interior", "exterior")


def test_listing_and_checking_recipes_load_no_tensorflow() -> None:
    code = (
        "import sys; from toolkit.training.recipes import recipe as recipes, shape_check as shapes; "
        "[shapes.trace(recipes.load_recipe(n), recipes.load_recipe(n).classes) for n in recipes.available()]; "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_all_mistakes_are_reported_together_with_suggestions(tmp_path: Path) -> None:
    text = load_recipe("flowers-augmented").text
    for old, new in (
        ('class = "RandomFlip"', 'class = "RandomFilp"'),
        ("filters = 16", "fliters = 16"),
        ('activation = "relu"', 'activation = "rleu"'),
        ("height = 180", "height = 0"),
        ("epochs = 15", 'epochs = "many"'),
        ('class = "Flatten"', 'class = "Lambda"'),
        ("seed = 123", "sede = 123"),
    ):
        text = text.replace(old, new, 1)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = caught.value.message
    assert len(caught.value.problems) == 8, message  # filters is missing, too
    for part in (
        "'RandomFlip'?",
        "'filters'?",
        "'relu'?",
        "height = 0",
        "'many'",
        "'Lambda' is not allowed",
        "'seed'?",
    ):
        assert part in message
    result = run_cli("recipe", "show", path, cwd=tmp_path)
    assert result.returncode == 4
    assert "8 mistakes" in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("units = 1\n", "units = 2\n", "needs units = 1"),
        ('activation = "sigmoid"', 'activation = "softmax"', 'activation = "sigmoid"'),
        ('loss = "binary_crossentropy"', 'loss = "sparse_categorical_crossentropy"', "softmax"),
        ("height = 150", "height = 150\nlabels = ['a', 'b', 'c']", "labels must be two"),
        ("epochs = 100", "epochs = 100\nmonitor = 'loss'\nkeep = 'best'", "val_loss"),
        ('class = "Flatten"', 'class = "RandomFlip"', "belongs under [[augment]]"),
        ("schema = 1", "schema = 2", "schema"),
        ('class = "Flatten"', 'class = "Flatten"\nname = "a b"', "ASCII letters"),
        ("learning_rate = ", "learning_rate = 1e39 # ", "a number, 0 to 1e+06"),
    ],
)
def test_what_does_not_go_together_is_a_mistake(old: str, new: str, expected: str) -> None:
    text = load_recipe("cats-dogs-150").text
    assert old in text
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.replace(old, new, 1), source="mine.toml", name="mine")
    assert expected in caught.value.message


@pytest.mark.parametrize(
    "name", ["größe", "花", "1x", "my recipe", "_tiny", "-tiny", "v1.2 (b)", "x" * 100, "...", ".a"]
)
def test_names_that_can_be_printed_are_good(name: str) -> None:
    text = load_recipe("flowers").text
    assert parse_recipe(text, source="mine.toml", name=name).name == name
    assert parse_recipe(f'name = "{name}"\n{text}', source="mine.toml", name="mine").name == name


@pytest.mark.parametrize("name", ["../evil", "a/../../A", "/a", "a\\b", ".", "..", "", "a\nb", "\x1b[1m", "x" * 101])
def test_a_name_is_no_path(name: str) -> None:
    text = load_recipe("flowers").text
    with pytest.raises(RecipeError, match="without a slash"):
        parse_recipe(text, source="mine.toml", name=name)
    with pytest.raises(RecipeError, match="without a slash"):
        parse_recipe(f"name = {json.dumps(name)}\n{text}", source="mine.toml", name="mine")


@given(st.text(max_size=300))
def test_any_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(text, source="mine.toml", name="mine")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(LAYERS) + sorted(AUGMENTATIONS)), st.data())
def test_checks_take_any_value(kind: str, data: st.DataObject) -> None:
    arguments = (LAYERS | AUGMENTATIONS)[kind]  # type: ignore[operator]
    for check in arguments.checks.values():
        assert isinstance(check(data.draw(_VALUES)), str)


def test_an_unknown_recipe_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'flowers'"):
        load_recipe("flower")
    with pytest.raises(RecipeError, match="no such recipe file"):
        load_recipe(tmp_path / "mine.toml")


def test_copy_gives_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = copy_recipe("fashion", tmp_path / "mine.toml")
    assert load_recipe(path).layers == load_recipe("fashion").layers
    with pytest.raises(UsageError, match="exists already"):
        copy_recipe("fashion", path)
    copy_recipe("malaria", path, force=True)
    assert load_recipe(path).parameters == PARAMETERS["malaria"]
    with pytest.raises(UsageError, match=r"\.toml"):
        copy_recipe("fashion", tmp_path / "mine.txt")


def test_the_command_lists_and_copies(tmp_path: Path) -> None:
    listed = run_cli("recipe", "list", cwd=tmp_path)
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*TRANSFER, *sorted(PARAMETERS)]
    assert ["documented network: " in line for line in lines] == [False] * 3 + [True] * 7
    assert run_cli("recipe", "copy", "places", cwd=tmp_path).returncode == 0
    assert run_cli("recipe", "show", "places.toml", cwd=tmp_path).stdout == load_recipe("places").text
    assert run_cli("recipe", "copy", "places", cwd=tmp_path).returncode == 2


def test_a_image_too_small_for_the_layers_is_refused() -> None:
    recipe = load_recipe("cats-dogs-150")
    small = parse_recipe(recipe.text.replace("= 150", "= 12"), source="small", name="small")
    with pytest.raises(RecipeError, match=r"8 Dense|Conv2D cannot follow"):
        trace(small, 2)


def test_a_batch_that_does_not_fit_is_refused_with_what_would() -> None:
    places = load_recipe("places")
    check_memory(places, 3, 64 << 30)
    check_memory(places, 3, None)
    with pytest.raises(MachineError, match=r"about 4\d\.\d GiB") as caught:
        check_memory(places, 3, 16 << 30)
    assert "--batch-size 8" in caught.value.hint
    with pytest.raises(MachineError) as caught:
        check_memory(places, 3, 1 << 30)
    assert "--image-size" in caught.value.hint


@pytest.mark.parametrize("name", ["places", "flowers", "cats-dogs-150", "fashion"])
@pytest.mark.parametrize("available", [1 << 29, 1 << 30, 5 << 28, 3 << 29, 1 << 31, 1 << 33])
@pytest.mark.parametrize("units", [None, 4096, 99_999_999])
def test_what_is_said_to_fit_does(name: str, available: int, units: int | None) -> None:
    recipe = load_recipe(name)
    if units:
        dense = next(i for i, layer in enumerate(recipe.layers) if layer.kind == "Dense")
        wide = replace(recipe.layers[dense], arguments={**recipe.layers[dense].arguments, "units": units})
        last = recipe.layers[-1]
        layers = (*recipe.layers[:dense], wide, *(recipe.layers[dense + 1 :] or (last,)))
        recipe = replace(recipe, layers=layers)
    n_classes = 3
    try:
        check_memory(recipe, n_classes, available)
    except MachineError as error:
        hint = error.hint
    else:
        return
    fits = re.fullmatch(r"(?:--image-size (\d+)x(\d+) )?--batch-size (\d+) would fit", hint)
    if fits is None:
        assert "fewer units" in hint
        assert units == 99_999_999 or available <= 3 << 29
        return
    spec = recipe.preprocess
    height, width = (int(fits[i] or side) for i, side in ((1, spec.height), (2, spec.width)))
    smaller = replace(
        recipe,
        preprocess=replace(spec, height=height, width=width),
        train=replace(recipe.train, batch_size=int(fits[3])),
    )
    check_memory(smaller, n_classes, available)


def test_classes_that_the_last_layer_cannot_tell_apart_are_refused() -> None:
    check_classes(load_recipe("flowers"), 7)
    for name, n in (("malaria", 3), ("places", 2)):
        with pytest.raises(InputError, match="classes apart"):
            check_classes(load_recipe(name), n)
