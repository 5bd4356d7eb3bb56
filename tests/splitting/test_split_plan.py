"""Properties of the plan: exact counts, stability, whole groups."""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.core.errors import UsageError
from toolkit.data.class_source import Problem, SourceFile
from toolkit.data.probe import Examined
from toolkit.images.header import Header
from toolkit.splitting.group_fill import fill, fill_one
from toolkit.splitting.plan import PlanItem, borders, parse_ratio, plan, subsets
from toolkit.splitting.rows import SplitSample, build


def digest(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


ratios = st.sampled_from(["0.9", "0.8", "0.7", "0.5", "0.15", "0.8,0.1,0.1", "0.6,0.2,0.2"]).map(parse_ratio)
contents = st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True)


def items_of(numbers: list[int], classes: int = 2) -> list[PlanItem]:
    return [PlanItem(f"{n % classes}/{n}.jpg", str(n % classes), digest(n)) for n in numbers]


@given(contents, ratios, st.integers(0, 5))
def test_counts_are_exact(numbers: list[int], ratio: tuple[Decimal, ...], seed: int) -> None:
    items = items_of(numbers)
    counted = Counter((p.label, c.subset) for p, c in zip(items, plan(items, ratio, seed), strict=True))
    for label, n in Counter(p.label for p in items).items():
        ends = [0, *borders(n, ratio)]
        parts = ("train", "validation", "test")[: len(ratio)]
        assert [counted[label, part] for part in parts] == [b - a for a, b in itertools.pairwise(ends)]


@given(contents, ratios, st.randoms(use_true_random=False))
def test_order_and_names_do_not_matter(numbers: list[int], ratio: tuple[Decimal, ...], random: object) -> None:
    items = items_of(numbers)
    first = {p.digest: c.subset for p, c in zip(items, plan(items, ratio), strict=True)}
    renamed = [replace(p, path=f"{p.label}/{p.digest[::-1]}.jpg") for p in items]
    random.shuffle(renamed)  # type: ignore[attr-defined]
    assert {p.digest: c.subset for p, c in zip(renamed, plan(renamed, ratio), strict=True)} == first


@given(contents, st.sampled_from(["0.9", "0.75", "0.5"]).map(parse_ratio))
def test_one_more_image_moves_at_most_one_other(numbers: list[int], ratio: tuple[Decimal, ...]) -> None:
    digests = [digest(n) for n in numbers]
    before, after = subsets(digests, ratio), subsets([*digests, digest(-1)], ratio)
    assert sum(a != b for a, b in zip(before, after, strict=False)) <= 1


@given(contents, contents, ratios, ratios)
def test_what_was_assigned_never_moves(
    old: list[int], new: list[int], first: tuple[Decimal, ...], second: tuple[Decimal, ...]
) -> None:
    items = items_of(old)
    known = [replace(p, assigned=c.subset) for p, c in zip(items, plan(items, first), strict=True)]
    together = known + items_of([n for n in new if n not in old])
    choices = plan(together, second)
    assert [c.subset for c in choices[: len(known)]] == [p.assigned for p in known]
    assert all(c.subset for c in choices)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=40), ratios)
def test_groups_never_straddle(cells: list[tuple[int, int]], ratio: tuple[Decimal, ...]) -> None:
    items = [PlanItem(f"{c}/{i}", str(c), digest(i), f"patient {g}") for i, (c, g) in enumerate(cells)]
    sides = defaultdict(set)
    for item, choice in zip(items, plan(items, ratio), strict=True):
        sides[item.group].add(choice.subset)
    assert all(len(found) == 1 for found in sides.values())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=10), st.integers(0, 60))
def test_groups_of_one_class_come_as_near_as_any_choice(sizes: list[int], wanted: int) -> None:
    got = sum(sizes[i] for i in fill_one(sizes, wanted))
    every = (sum(chosen) for r in range(len(sizes) + 1) for chosen in itertools.combinations(sizes, r))
    assert abs(got - wanted) == min(abs(total - wanted) for total in every)


parts_of_names = st.text("aAé\u0301.", min_size=1, max_size=3).filter(lambda part: part.strip("."))
names = st.lists(st.lists(parts_of_names, min_size=2, max_size=3).map("/".join), min_size=1, max_size=30, unique=True)


@given(names, st.randoms(use_true_random=False), ratios, st.booleans())
def test_every_file_has_one_row_and_every_kept_one_a_place_of_its_own(
    paths: list[str], random: Any, ratio: tuple[Decimal, ...], keep: bool
) -> None:
    """Whatever the names, copies and problems are, and on systems that fold case or composed characters."""
    examined = []
    for path in paths:
        label = unicodedata.normalize("NFC", path.partition("/")[0])
        problem = random.choice([None, None, None, Problem("truncated", "truncated: it ends early")])
        file = SourceFile(path, label, 1, 1)
        header = None if problem else Header("jpeg", 1, 1)
        examined.append(Examined(file, digest(random.randrange(40)), header, problem))
    samples = [SplitSample(e) for e in examined]
    kept = [sample for sample in samples if sample.usable]
    choices = plan([sample.item() for sample in kept], ratio, keep_duplicates=keep)
    for sample, choice in zip(kept, choices, strict=True):
        sample.choice = choice
    rows = build(samples, [])
    assert [row.path for row in rows] == paths
    assert all(bool(row.subset) == bool(row.target) == (not row.reason) for row in rows)
    targets = [unicodedata.normalize("NFC", row.target).casefold() for row in rows if row.target]
    assert len(targets) == len(set(targets))


def test_groups_are_exact_where_they_can_be_far_from_the_border() -> None:
    sizes = [2] * 3000 + [1]
    assert sum(sizes[i] for i in fill_one(sizes, 999)) == 999


def test_mixed_groups_are_made_up_for_by_single_images() -> None:
    units = [{"a": 3, "b": 2}] * 10 + [{"a": 1}] * 20 + [{"b": 1}] * 20
    total: Counter[str] = Counter()
    for u in fill(units, {"a": 40, "b": 31}):
        total.update(units[u])
    assert total == {"a": 40, "b": 31}


def test_copies_and_two_labels_are_left_out_and_named() -> None:
    items = [
        PlanItem("Cat/a.jpg", "Cat", digest(1)),
        PlanItem("Cat/a (1).jpg", "Cat", digest(1)),
        PlanItem("Cat/b.jpg", "Cat", digest(2)),
        PlanItem("Dog/c.jpg", "Dog", digest(2)),
        PlanItem("Dog/d.jpg", "Dog", digest(3)),
    ]
    choices = plan(items, parse_ratio("0.5"))
    assert [c.reason for c in choices] == ["", "duplicate", "two_labels", "two_labels", ""]
    assert "Cat/a.jpg" in choices[1].note
    assert "Dog/c.jpg" in choices[2].note
    kept = plan(items, parse_ratio("0.5"), keep_duplicates=True)
    assert kept[0].subset == kept[1].subset != ""


@pytest.mark.parametrize(
    "text", ["", "x", "1.5", "-0.1", "0.5,0.6", "0.5,0.2,0.2,0.1", "nan", "inf", "0", "1", "0.9,0.1,0"]
)
def test_wrong_ratios(text: str) -> None:
    with pytest.raises(UsageError, match="--ratio"):
        parse_ratio(text)


def test_the_ratio_is_a_decimal() -> None:
    assert borders(90, parse_ratio("0.7")) == [63, 90]
    assert subsets([digest(i) for i in range(90)], parse_ratio("0.7")).count("train") == 63
