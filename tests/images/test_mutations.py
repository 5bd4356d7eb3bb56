"""Damaged images of every format: no crash, no hang, bounded memory; each is pixels or an error."""

from __future__ import annotations

import random
import resource

import pytest
from support.mutations import mutated, seeds

from toolkit.images.decode import decode
from toolkit.images.header import DecodeError
from toolkit.images.limits import Limits
from toolkit.images.spec import Colour, Preprocess

SPECS = (Preprocess(height=16, width=16), Preprocess(height=40, width=24, colour=Colour.GREY))
MAX_GROWTH = 512 << 20


def run(n: int, seed: int) -> tuple[int, int]:
    """How many of `n` mutations were decoded, and how many refused."""
    dice = random.Random(seed)
    files = list(seeds())
    limits = Limits(max_pixels=50_000_000)
    decoded = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(n):
        name, data = files[i % len(files)]
        spec = SPECS[i % 2]
        changed = mutated(data, dice)
        try:
            pixels = decode(changed, spec, limits=limits)
        except DecodeError:
            refused += 1
        else:
            decoded += 1
            assert pixels.shape == spec.shape, name
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert growth < MAX_GROWTH, (name, i, growth)
    return decoded, refused


def test_every_seed_decodes() -> None:
    for name, data in seeds():
        assert decode(data, SPECS[0]).shape == SPECS[0].shape, name


def test_some_mutations() -> None:
    decoded, refused = run(1_000, seed=1)
    assert decoded > 100
    assert refused > 100


@pytest.mark.slow
def test_twenty_thousand_mutations() -> None:
    decoded, refused = run(20_000, seed=2)
    assert decoded + refused == 20_000
