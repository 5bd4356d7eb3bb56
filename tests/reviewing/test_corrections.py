"""Decisions on the disk while other programs change the file that holds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.core.errors import InputError
from toolkit.reviewing.corrections import Correction, Corrections, read_corrections


def edited(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_bytes().decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8", newline="")


def labels(path: Path) -> dict[str, str]:
    return {found.file_name: found.label for found in read_corrections(path)}


def test_edits_of_another_program_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    Corrections(path).add(Correction(f"{name}.png", "Cat", "", "2026-01-01T00:00:00Z") for name in "abc")
    review = Corrections(path)
    review.decide("d.png", "Cat", "")
    edited(path, ("b.png,Cat", "b.png,Owl"), ("c.png,Cat,,2026-01-01T00:00:00Z\r\n", ""))  # changed, taken away
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write("e.png,Emu,,\r\n")  # added
    review.decide("f.png", "Dog", "")
    assert labels(path) == {"a.png": "Cat", "b.png": "Owl", "d.png": "Cat", "e.png": "Emu", "f.png": "Dog"}
    assert review.label("b.png") == "Owl"
    edited(path, ("f.png,Dog", "f.png,Fox"))
    review.take_back("a.png")
    assert labels(path) == {"b.png": "Owl", "d.png": "Cat", "e.png": "Emu", "f.png": "Fox"}


def test_a_program_that_had_read_the_file_before_takes_no_decision_away(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    review = Corrections(path)
    review.add([Correction("a.png", "Cat", "", "2026-01-01T00:00:00Z")])
    old = path.read_bytes().decode()
    review.decide("a.png", "Dog", "")
    review.decide("b.png", "Dog", "")
    path.write_text(old + "c.png,Owl,,\r\n", encoding="utf-8", newline="")  # saved over the two decisions
    review.refresh()  # as when the page is loaded again
    assert labels(path) == {"a.png": "Cat", "c.png": "Owl"}
    review.finish()
    assert labels(path) == {"a.png": "Dog", "b.png": "Dog", "c.png": "Owl"}
    path.unlink()
    review.decide("d.png", "Emu", "")
    assert labels(path) == {"a.png": "Dog", "b.png": "Dog", "c.png": "Owl", "d.png": "Emu"}


def test_a_file_that_became_another_one_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    review = Corrections(path)
    review.decide("a.png", "Cat", "")
    path.write_text("my,other,table\n1,2,3\n")
    with pytest.raises(InputError, match="expected corrections"):
        review.decide("b.png", "Dog", "")
    with pytest.raises(InputError, match="expected corrections"):
        review.take_back("a.png")
    with pytest.raises(InputError, match="expected corrections"):
        review.finish()
    assert path.read_text() == "my,other,table\n1,2,3\n"
    path.unlink()
    review.decide("b.png", "Dog", "")
    assert labels(path) == {"a.png": "Cat", "b.png": "Dog"}


def test_a_link_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared.csv", tmp_path / "corrections.csv"
    Corrections(shared).decide("a.png", "Cat", "")
    before = shared.read_bytes()
    link.symlink_to(shared)
    with pytest.raises(InputError, match="found a link to"):
        Corrections(link)
    assert link.is_symlink()
    assert shared.read_bytes() == before
