"""Download the public archives on which the documented networks were measured: `python tools/fetch_data.py data/`

    python tools/fetch_data.py data/                     # all four, about 1.5 GB
    python tools/fetch_data.py data/ flowers fashion     # some of them

They come from where their publishers keep them, under the publishers' terms: PetImages (Microsoft Research), flower
photos (TensorFlow's tutorial; the photographers' Creative Commons licences lie inside), cell images (U.S. National
Library of Medicine), Fashion-MNIST (Zalando SE, MIT). A file that is there is not fetched again. The tests need none of
them: without archives they make images of their own.
"""

from __future__ import annotations

import argparse
import gzip
import io
import struct
import urllib.request
import zipfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np

PLAIN: Final = {
    "pets": (
        "PetImages.zip",
        "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    ),
    "flowers": (
        "flower_photos.tgz",
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
    ),
    "cells": ("cell_images.zip", "https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip"),
}
"""Name -> (archive, address)."""

FASHION: Final = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_ZIP: Final = "fashion_mnist_images.zip"
TIMEOUT_S: Final = 60


def download(address: str) -> bytes:
    """The bytes behind `address`; ends the script with a line that says what went wrong."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response:
            content: bytes = response.read()
    except OSError as error:
        raise SystemExit(f"{address}: {error}; try again later, or fetch it by hand") from None
    return content


def idx_array(packed: bytes) -> np.ndarray:
    """An array of bytes from the gzipped IDX format (yann.lecun.com/exdb/mnist): magic, sizes, values."""
    content = gzip.decompress(packed)
    n_dimensions = content[3]
    shape = struct.unpack(f">{n_dimensions}I", content[4 : 4 + 4 * n_dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def fashion_zip() -> bytes:
    """Fashion-MNIST as PNGs in `fashion_mnist_images/{train,test}/<0..9>/`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for subset, stem in (("train", "train"), ("test", "t10k")):
            images = idx_array(download(f"{FASHION}/{stem}-images-idx3-ubyte.gz"))
            labels = idx_array(download(f"{FASHION}/{stem}-labels-idx1-ubyte.gz"))
            seen = [0] * 10
            for image, label in zip(images, labels.tolist(), strict=True):
                name = f"fashion_mnist_images/{subset}/{label}/{seen[label]:04}.png"
                archive.writestr(zipfile.ZipInfo(name), bytes(cv2.imencode(".png", image)[1]))
                seen[label] += 1
    return packed.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="pets, flowers, cells, fashion; all when none is given"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {*PLAIN, "fashion"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are pets, flowers, cells, fashion")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or [*PLAIN, "fashion"]:
        target = arguments.folder / (FASHION_ZIP if name == "fashion" else PLAIN[name][0])
        if target.exists():
            print(f"{target}: is there")
            continue
        print(f"{target}: downloading …", flush=True)
        content = fashion_zip() if name == "fashion" else download(PLAIN[name][1])
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_bytes(content)
        temporary.replace(target)
        print(f"{target}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
