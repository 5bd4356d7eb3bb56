"""OpenCV's JPEG decoder against simplejpeg (libjpeg-turbo's own interface): `python tools/bench_decoder.py IMAGES...`

Needs `pip install simplejpeg`. First, whether both give the same pixels on every kind of JPEG, at every reduction, in
colour and grey; then, for each folder of JPEGs, images a processor second at each reduction, medians of seven, the two
in turn. `toolkit` would take simplejpeg if `infer` gained 5 % and every pixel were equal.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from toolkit.images.decode import Image
from toolkit.images.opencv_threads import one_opencv_thread
from toolkit.inference.inputs import Counts, Inputs

ROUNDS, MOST = 7, 200
COLOUR = {1: cv2.IMREAD_COLOR_RGB, 2: 272, 4: 288, 8: 320}
GREY = {1: cv2.IMREAD_GRAYSCALE, 2: 16, 4: 32, 8: 64}


def with_opencv(data: bytes, reduction: int, grey: bool) -> Image | None:
    flags = (GREY if grey else COLOUR)[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels: Image | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return pixels


def with_simplejpeg(data: bytes, reduction: int, grey: bool) -> Image | None:
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        pixels: Image = simplejpeg.decode_jpeg(
            data,
            "GRAY" if grey else "RGB",
            min_height=-(-height // reduction) if reduction > 1 else 0,
            min_width=-(-width // reduction) if reduction > 1 else 0,
            min_factor=reduction,
        )
    except ValueError:
        return None
    return pixels[:, :, 0] if grey else pixels


def kinds() -> Iterator[tuple[str, bytes]]:
    """A JPEG of every kind, of 61x83 pixels and of 640x480."""
    from io import BytesIO

    from PIL import Image as Pil

    rng = np.random.default_rng(0)
    for height, width in ((61, 83), (480, 640)):
        small = rng.integers(0, 256, (height // 10 + 1, width // 10 + 1, 3)).astype(np.uint8)
        pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        size = f"{height}x{width}"

        def encoded(*settings: int, pixels: Image = pixels) -> bytes:
            return cv2.imencode(".jpg", pixels, list(settings))[1].tobytes()

        for name in ("411", "420", "422", "440", "444"):
            factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}")
            for progressive in (0, 1):
                kind = f"4:{name[1]}:{name[2]} {'progressive' if progressive else 'baseline'} {size}"
                yield kind, encoded(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
        yield f"restart markers {size}", encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 3)
        yield f"grey {size}", encoded(pixels=pixels[:, :, 0])
        cmyk = BytesIO()
        Pil.fromarray(pixels).convert("CMYK").save(cmyk, "jpeg")
        yield f"CMYK {size}", cmyk.getvalue()
        whole = encoded()
        yield f"truncated {size}", whole[: len(whole) * 2 // 3]
        flipped = bytearray(whole)
        flipped[len(flipped) // 2] ^= 0x55
        yield f"flipped bits {size}", bytes(flipped)


def compare() -> None:
    for name, data in kinds():
        unequal = []
        for grey in (False, True):
            for reduction in (1, 2, 4, 8):
                a, b = with_opencv(data, reduction, grey), with_simplejpeg(data, reduction, grey)
                if (a is None) != (b is None):
                    unequal.append(f"{'grey' if grey else 'colour'} 1/{reduction}: only one decodes it")
                elif a is not None and b is not None and not np.array_equal(a, b):
                    far = np.abs(a.astype(int) - b).max() if a.shape == b.shape else f"{a.shape} {b.shape}"
                    unequal.append(f"{'grey' if grey else 'colour'} 1/{reduction}: {far}")
        print(f"{name:<32} {'equal' if not unequal else '; '.join(unequal)}")


def rate(decode: Callable[[bytes, int, bool], object], files: list[bytes], reduction: int, grey: bool) -> float:
    begun = time.process_time()
    for data in files:
        decode(data, reduction, grey)
    return len(files) / (time.process_time() - begun)


def main() -> None:
    compare()
    with one_opencv_thread():
        for folder in sys.argv[1:]:
            samples = islice(Inputs(paths=(folder,)).samples(Counts()), MOST)
            files = [data for s in samples if (data := Path(s.path).read_bytes())[:2] == b"\xff\xd8"]
            for grey in (False, True):
                for reduction in (1, 2, 4, 8):
                    pairs = [
                        (rate(with_opencv, files, reduction, grey), rate(with_simplejpeg, files, reduction, grey))
                        for _ in range(ROUNDS)
                    ]
                    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
                    gain = statistics.median(b / a for a, b in pairs)
                    colour = "grey" if grey else "colour"
                    print(
                        f"{folder} {colour} 1/{reduction}: OpenCV {ours:,.0f}/s, simplejpeg {theirs:,.0f}/s, {gain:.2f}"
                    )


if __name__ == "__main__":
    main()
