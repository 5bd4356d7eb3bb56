"""`toolkit.load(model).predict(images)`: what infer does, in memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import onnx_networks

import toolkit
from toolkit.images.decode import decode
from toolkit.sessions.open_session import open_session


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return onnx_networks.write_mean_network(tmp_path / "mean.onnx", onnx_networks.contract())


@pytest.mark.usefixtures("real_images")
def test_paths_and_arrays_give_what_the_session_gives(model_path: Path, pet_images: Path) -> None:
    paths = sorted((pet_images / "Dog").glob("2*.jpg"))[:70]
    model = toolkit.load(model_path)
    found = model.predict(paths)
    images = np.stack([decode(path.read_bytes(), model.contract.preprocess) for path in paths])
    expected = open_session(model_path, device="cpu").run(images)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.labels == ("Cat", "Dog")
    assert found.errors == ("",) * 70
    np.testing.assert_array_equal(model.predict(images).probabilities, found.probabilities)
    assert (found.probabilities.argmax(1) != found.probabilities.argmax(1)[0]).any()


def test_an_array_of_any_size_is_fitted(model_path: Path, pet_images: Path) -> None:
    path = pet_images / "Dog" / "1.jpg"
    pixels = np.asarray(Image.open(path).convert("RGB"))
    model = toolkit.load(model_path)
    found = model.predict([path, pixels]).probabilities
    # The file is reduced in the DCT domain, the array by area averaging.
    np.testing.assert_allclose(found[0], found[1], atol=0.02)


def test_one_array_of_colours_is_one_image(model_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    model = toolkit.load(model_path)
    found = model.predict(pixels).probabilities
    np.testing.assert_array_equal(found, model.predict([pixels]).probabilities)
    np.testing.assert_array_equal(found, model.predict(pixels[None]).probabilities)
    assert found.shape == (1, 2)


@pytest.mark.parametrize("shape", [(), (9,), (40, 60, 4), (5, 40, 60), (1, 5, 40, 60, 3)])
def test_an_array_that_is_not_clearly_one_image_or_many_is_refused(model_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(toolkit.UsageError, match=r"expected \(h, w\), \(h, w, 3\) or"):
        toolkit.load(model_path).predict(np.zeros(shape, np.uint8))


def test_what_cannot_be_read_is_an_error_in_its_place(model_path: Path, pet_images: Path, tmp_path: Path) -> None:
    good = pet_images / "Cat" / "1.jpg"
    images: list[Any] = [
        good,
        pet_images / "Cat" / "666.jpg",
        tmp_path / "missing.jpg",
        np.zeros((4, 4), np.float32),
        good,
    ]
    found = toolkit.load(str(model_path)).predict(images)
    assert [bool(error) for error in found.errors] == [False, True, True, True, False]
    assert np.isnan(found.probabilities).all(axis=1).tolist() == [False, True, True, True, False]
    np.testing.assert_array_equal(found.probabilities[0], found.probabilities[4])


def test_no_images_is_an_empty_answer(model_path: Path) -> None:
    assert toolkit.load(model_path).predict([]).probabilities.shape == (0, 2)


def test_one_path_is_one_image(model_path: Path, pet_images: Path) -> None:
    assert toolkit.load(model_path).predict(str(pet_images / "Cat" / "1.jpg")).probabilities.shape == (1, 2)


def test_no_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(toolkit.ToolkitError) as caught:
        toolkit.load(tmp_path / "model")
    assert "toolkit train" in caught.value.hint


def test_images_of_pillow(model_path: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
    pixels[:20] = (250, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    model = toolkit.load(model_path)
    images: list[Any] = [
        Image.fromarray(pixels),
        Image.fromarray(pixels).convert("RGBA"),
        Image.open(io.BytesIO((tmp_path / "turned.png").read_bytes())),
        Image.fromarray(pixels[..., 0]),
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
        Image.fromarray(pixels).convert("P"),
    ]
    expected = model.predict([pixels, pixels, tmp_path / "turned.png", pixels[..., 0], pixels[..., 0]]).probabilities
    found = model.predict(images)
    np.testing.assert_array_equal(found.probabilities[:5], expected)
    assert found.errors == ("",) * 6
    assert len(model.predict(images[0])) == len(model.predict(pixels)) == len(model.predict(pixels[..., 0])) == 1
    with pytest.raises(toolkit.ToolkitError, match="found int"):
        model.predict([3])  # type: ignore[list-item]


def test_a_broken_image_never_has_a_label(model_path: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((90, 90, 3), np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    model = toolkit.load(model_path)
    with Image.open(tmp_path / "cut.png") as cut:
        found = model.predict([tmp_path / "good.png", cut, tmp_path / "cut.png"])
    assert [answer.label is None for answer in found] == [False, True, True]
    assert [bool(answer.error) for answer in found] == [False, True, True]
    assert found.best[1:] == (None, None)
    assert np.isnan(found.confidence).tolist() == [False, True, True]
    first = next(iter(found))
    assert first.label in model.labels == ("Cat", "Dog")
    assert first.confidence == found.probabilities[0].max() == first.probabilities.max()
    assert model.image_size == (32, 32)
