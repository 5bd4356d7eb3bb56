"""Make `toolkit/_demo/fashion.zip`: 2,000 real Fashion-MNIST images as PNGs in class folders.

    python tools/make_demo_images.py ../shared/data/fashion_mnist_images.zip

The first 200 training images of each class, pixels unchanged, compressed as small as PNG goes; the same archive
gives the same bytes.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PER_CLASS = 200
TARGET = Path(__file__).parent.parent / "toolkit" / "_demo" / "fashion.zip"


def smallest_png(data: bytes) -> bytes:
    """The same grey pixels in the fewest bytes that OpenCV's PNG strategies reach."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise SystemExit("an image in the archive cannot be decoded")
    options = [
        [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, strategy, cv2.IMWRITE_PNG_FILTER, row_filter]
        for strategy in range(4)
        for row_filter in (cv2.IMWRITE_PNG_FILTER_NONE, cv2.IMWRITE_PNG_FILTER_SUB, cv2.IMWRITE_PNG_FILTER_PAETH)
    ]
    return min((cv2.imencode(".png", pixels, option)[1].tobytes() for option in options), key=len)


def main() -> None:
    source = Path(sys.argv[1])
    buffer = io.BytesIO()
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(buffer, "w") as target:
        names = archive.namelist()
        licence = next(name for name in names if name.endswith("LICENSE"))
        entries = [("LICENSE-Fashion-MNIST.txt", archive.read(licence))]
        for index, label in enumerate(CLASSES):
            members = sorted(name for name in names if f"/train/{index}/" in name and name.endswith(".png"))
            for number, name in enumerate(members[:PER_CLASS]):
                entries.append((f"fashion/{label}/{number:03}.png", smallest_png(archive.read(name))))
        for name, data in entries:
            info = zipfile.ZipInfo(name, date_time=(2017, 8, 25, 0, 0, 0))
            info.external_attr = 0o644 << 16
            target.writestr(info, data)
    TARGET.write_bytes(buffer.getvalue())
    print(f"{TARGET}: {len(entries) - 1} images, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
