"""Cutting less than the whole middle: what timm's evaluation does, by Pillow."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from support.onnx_networks import contract

from toolkit.adopting.adopt import AdoptOptions, adopt
from toolkit.core.errors import ModelError, UsageError
from toolkit.images.decode import Image, decode, fit
from toolkit.images.spec import Colour, Preprocess, Resize
from toolkit.model_files.contract import Contract
from toolkit.model_files.contract_io import read_contract
from toolkit.model_files.conventions import Output
from toolkit.training.data.decode_cache import _spec_key


def ramps(height: int, width: int) -> Image:
    """Red rises from left to right, green from top to bottom, blue is wavy: a part shows where it was cut."""
    y, x = np.mgrid[0:height, 0:width]
    blue = 127 + 100 * np.sin(x / width * 9) * np.cos(y / height * 7)
    return np.stack([255 * x / (width - 1), 255 * y / (height - 1), blue], -1).round().astype(np.uint8)


def as_timm(pixels: Image, size: int, fraction: float) -> Image:
    """Resize(floor(size / fraction)), then CenterCrop(size), as `timm.data.create_transform` for evaluation."""
    image = Pillow.fromarray(pixels)
    shorter = int(size / fraction)
    scale = shorter / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Pillow.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def png(pixels: Image) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("fraction", [0.875, 0.95, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(300, 400), (700, 500), (256, 256), (1500, 2100), (100, 90)])
@pytest.mark.parametrize("size", [64, 224])
def test_the_part_that_timm_takes(fraction: float, shape: tuple[int, int], size: int) -> None:
    pixels = ramps(*shape)
    spec = Preprocess(height=size, width=size, resize=Resize.CROP, crop_fraction=fraction)
    expected = as_timm(pixels, size, fraction).astype(int)
    # One pixel of the original; and of timm's image half a pixel, and what it loses where its size is no whole number.
    resized = int(size / fraction)
    limit = 1 + 255 / min(shape) + 127 / resized + 255 * abs(size / resized - fraction)
    for found in (decode(png(pixels), spec), fit(pixels, spec)):
        assert found.shape == (size, size, 3)
        assert np.abs(found.astype(int) - expected).mean() < limit
        assert np.abs(found.astype(int) - expected).max() <= 8 + 2 * limit
    if fraction < 0.9:
        whole = decode(png(pixels), Preprocess(height=size, width=size, resize=Resize.CROP)).astype(int)
        assert np.abs(whole - expected).mean() > 5


def test_a_jpeg_is_not_reduced_too_far() -> None:
    """Half of 1,000 pixels are 500: a quarter of its resolution would have to be enlarged to 224."""
    pixels = ramps(1000, 1000)
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    spec = Preprocess(height=224, width=224, resize=Resize.CROP, crop_fraction=0.25)
    found = decode(data, spec).astype(int)
    assert np.abs(found - as_timm(pixels, 224, 0.25).astype(int)).mean() < 2


def test_a_grey_oblong_target() -> None:
    spec = Preprocess(height=20, width=40, colour=Colour.GREY, resize=Resize.CROP, crop_fraction=0.5)
    assert decode(png(ramps(100, 100)), spec).shape == (20, 40, 1)
    assert decode(png(np.zeros((1, 1, 3), np.uint8)), spec).shape == (20, 40, 1)


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="crop fraction"):
        Preprocess(height=8, width=8, resize=Resize.CROP, crop_fraction=fraction)
    with pytest.raises(UsageError, match="--crop-fraction"):
        AdoptOptions(crop_fraction=fraction)


def test_it_travels_in_the_contract_and_old_ones_stay_as_they_are() -> None:
    old = contract()
    assert "crop_fraction" not in old.to_dict()
    assert Contract.from_json(old.to_json()) == old
    spec = Preprocess(height=8, width=8, resize=Resize.CROP, crop_fraction=0.875)
    new = Contract(labels=("Cat", "Dog"), preprocess=spec)
    assert Contract.from_json(new.to_json()) == new
    for wrong in ("0.9", True, None, 2.0, [1]):
        with pytest.raises(ModelError, match=r"crop.fraction"):
            Contract.from_json(json.dumps({**new.to_dict(), "crop_fraction": wrong}))
    with pytest.raises(ModelError, match="crop fraction"):
        Contract.from_json(json.dumps({**new.to_dict(), "resize": "squash"}))
    assert _spec_key(spec) != _spec_key(Preprocess(height=8, width=8, resize=Resize.CROP))


def test_adopt_writes_it(tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "torch_onnx" / "dynamic_logits.onnx"
    names = tmp_path / "labels.txt"
    names.write_text("".join(f"class {i}\n" for i in range(5)))
    options = AdoptOptions(preset="imagenet", labels=names, crop_fraction=0.875, out=tmp_path / "mine.onnx")
    result = adopt(source, options)
    assert read_contract(result.path).preprocess.crop_fraction == 0.875
    assert any("0.875" in note for note in result.notes)
    with pytest.raises(UsageError, match="goes with cropping"):
        adopt(
            source,
            AdoptOptions(
                preset="keras-torch", labels=names, output=Output.LOGITS, crop_fraction=0.5, out=tmp_path / "n.onnx"
            ),
        )
