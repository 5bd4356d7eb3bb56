"""What people read: counts in their order, names that they know, numbers with their noun."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from toolkit import doctor
from toolkit.cli.label.infer import counts_by_label
from toolkit.inference.result import InferResult


def test_the_most_frequent_labels_come_first() -> None:
    result = InferResult(out=Path("labels.csv"), device="cpu", note="", n_unsure=77)
    result.labels = Counter({"dogs": 5, "cats": 9, "ants": 5, **{f"rare {i}": 1 for i in range(9)}})
    counted = counts_by_label(result)
    assert counted.startswith("cats 9 · ants 5 · dogs 5 · rare 0 1 · ")
    assert counted.endswith(" · rare 6 1 · 2 other labels 2 · unsure 77 · failed 0")


def test_doctor_names_packages_and_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {diagnosis.subject: diagnosis for diagnosis in doctor.diagnose()}
    assert not any("None" in diagnosis.found for diagnosis in found.values())
    assert "pillow " in found["more image formats"].found
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    (formats,) = (found for found in doctor.diagnose() if found.subject == "more image formats")
    assert formats.found == "not installed: pillow, pillow-jxl-plugin"
