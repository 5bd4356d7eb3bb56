"""Images made from a seed, in the form of the four public archives, for machines that do not have those.

Each archive has the file names, counts, formats, sizes and planted faults of the real one. The images are textures with
a blob of a colour and size that depend on the class, so that small networks learn something; they are no photos, and
tests about accuracy or about what photos look like ask for `real_images` instead.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from toolkit.images.decode import Image

FLOWERS: Final = {"daisy": 528, "dandelion": 765, "roses": 535, "sunflowers": 598, "tulips": 693}
CELLS: Final = {"Parasitized": 11_023, "Uninfected": 11_023}
FASHION: Final = {"train": 6_000, "test": 1_000}


def texture(seed: int, kind: int, height: int, width: int, channels: int = 3) -> Image:
    """One image: smooth noise over a gradient, and an ellipse of the hue of class `kind`.

    Returns:
        uint8 (height, width, channels), BGR or grey.
    """
    rng = np.random.default_rng([seed, kind])
    coarse = 255 * rng.random((max(2, height // 24 + 2), max(2, width // 24 + 2), 3), np.float32)
    grain = 6 * rng.standard_normal((height, width, 3), np.float32)
    canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + grain
    hue = np.array([[[(kind * 37 + rng.integers(-6, 7)) % 180, 200, 160 + rng.integers(0, 80)]]], np.uint8)
    colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    centre = (int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.4, 0.6)))
    axes = (max(1, int(width * (0.2 + 0.02 * (kind % 8)))), max(1, int(height * rng.uniform(0.2, 0.4))))
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    image = np.ascontiguousarray(image)
    cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    if channels == 1:
        return np.ascontiguousarray(image[..., 1:2])
    return image


def encoded(image: Image, suffix: str, quality: int = 92) -> bytes:
    """The bytes of a file with `suffix`."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    return bytes(cv2.imencode(suffix, image, options)[1])


def pets() -> Iterator[tuple[str, bytes]]:
    """`PetImages/Cat` and `PetImages/Dog`: 600 images each, and the faults that the public archive is known for."""

    def photo(name: str, number: int) -> bytes:
        rng = np.random.default_rng([number, len(name)])
        kind = 0 if name == "Cat" else 3
        return encoded(texture(number, kind, int(rng.integers(200, 420)), int(rng.integers(240, 500))), ".jpg")

    files = {f"{name}/{number}.jpg": photo(name, number) for name in ("Cat", "Dog") for number in range(600)}
    files["Cat/666.jpg"] = files["Dog/11702.jpg"] = b""
    files["Cat/Thumbs.db"] = files["Dog/Thumbs.db"] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4_000)
    files["Cat/10404.jpg"] = photo("Cat", 10_404)[:9_000]
    files["Dog/9500.jpg"] = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n"
    grey = cv2.imdecode(np.frombuffer(files["Cat/40.jpg"], np.uint8), cv2.IMREAD_GRAYSCALE)
    colour = cv2.imdecode(np.frombuffer(files["Dog/41.jpg"], np.uint8), cv2.IMREAD_COLOR)
    near = cv2.imdecode(np.frombuffer(files["Dog/50.jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert grey is not None
    assert colour is not None
    assert near is not None
    files["Cat/10501.jpg"] = bytes(cv2.imencode(".png", grey)[1])
    files["Dog/10797.jpg"] = bytes(cv2.imencode(".bmp", colour)[1])
    files["Dog/12 (1).jpg"] = files["Dog/12.jpg"]
    files["Dog/5050.jpg"] = bytes(cv2.imencode(".jpg", near, [cv2.IMWRITE_JPEG_QUALITY, 60])[1])
    files["Dog/3333.jpg"] = files["Cat/33.jpg"]
    for place in sorted(files):
        yield f"PetImages/{place}", files[place]


def flowers() -> Iterator[tuple[str, bytes]]:
    """Five class folders of 224x224 JPEGs."""
    for kind, (name, n) in enumerate(FLOWERS.items()):
        for number in range(n):
            yield f"flower_photos/{name}/{number:05}.jpg", encoded(texture(number, kind, 224, 224), ".jpg", 80)


def cells() -> Iterator[tuple[str, bytes]]:
    """Two class folders of 50x50 grey PNGs, named by patient as the public ones are."""
    for kind, (name, n) in enumerate(CELLS.items()):
        for number in range(n):
            patient = f"C{number % 199 + 1}P{number % 199 // 2 + 1}ThinF_IMG_20150918_{100_000 + number % 17:06}"
            image = texture(number, kind * 4, 50, 50, 1)
            yield f"cell_images/{name}/{patient}_cell_{number}.png", encoded(image, ".png")


def fashion() -> Iterator[tuple[str, bytes]]:
    """`train/0..9` and `test/0..9` of 28x28 grey PNGs, and a licence beside them."""
    yield "fashion_mnist_images/LICENSE", b"Made by tests/support/stand_in_images.py; no rights reserved.\n"
    for subset, n in FASHION.items():
        for kind in range(10):
            for number in range(n):
                image = texture(number + (subset == "test") * 100_000, kind, 28, 28, 1)
                yield f"fashion_mnist_images/{subset}/{kind}/{number:04}.png", encoded(image, ".png")


MAKERS: Final[dict[str, Callable[[], Iterator[tuple[str, bytes]]]]] = {
    "PetImages.zip": pets,
    "flower_photos.tgz": flowers,
    "cell_images.zip": cells,
    "fashion_mnist_images.zip": fashion,
}


def make_archive(folder: Path, name: str) -> Path:
    """`folder/name`, made where it is not there yet."""
    target = folder / name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{name}.tmp")
    if target.suffix == ".zip":
        with zipfile.ZipFile(temporary, "w") as zipped:
            for place, data in MAKERS[name]():
                zipped.writestr(zipfile.ZipInfo(place), data)
    else:
        with tarfile.open(temporary, "w:gz", compresslevel=1) as tarred:
            for place, data in MAKERS[name]():
                member = tarfile.TarInfo(place)
                member.size = len(data)
                tarred.addfile(member, io.BytesIO(data))
    temporary.replace(target)
    return target
