"""The page in a real browser: no errors or requests, the figures of `metrics.json`, sorting, filters, hostile names."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fitted_network
from support.onnx_networks import contract, write_linear_network

from toolkit.evaluation import report_page
from toolkit.evaluation.report import evaluate
from toolkit.evaluation.report_page import page
from toolkit.evaluation.result import Evaluation
from toolkit.images.decode import decode
from toolkit.images.spec import Colour

HOSTILE = ("<img src=x onerror=alert(1)>", "\"'><script>alert(2)<", "고양이 $\\frac{1}{2}$ {{7*7}}", "D" * 120)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    """Four classes with names that try to break out of the page, and a folder that no model knows."""
    folder = tmp_path_factory.mktemp("page")
    originals = fitted_network.unpack(folder)
    data = folder / "data & <b>more"
    for source, name in zip(("Shirt", "Coat", "Pullover", "Bag"), HOSTILE, strict=True):
        (data / name).mkdir(parents=True)
        for k, file in enumerate(sorted((originals / source).iterdir())[:60]):
            shutil.copy(file, data / name / f"{k} <i>&amp;'\".png")
    (data / HOSTILE[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    promise = contract(tuple(sorted(HOSTILE)), 28, Colour.GREY)
    files = [(k, file) for k, name in enumerate(promise.labels) for file in sorted((data / name).glob("? *"))]
    images = np.stack([decode(file.read_bytes(), promise.preprocess) for _, file in files])
    model = write_linear_network(folder / "m.onnx", promise, images, np.array([k for k, _ in files]), steps=60)
    return evaluate(data, model, folder / "out"), folder / "out"


@pytest.fixture
def opened(browser: Any, made: tuple[Evaluation, Path]) -> Any:
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get((made[1] / "report.html").as_uri())
    return browser


def texts(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return {script}")


def test_loads_without_errors_or_requests(opened: Any) -> None:
    assert opened.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith("data:")] == [opened.current_url]
    assert texts(opened, "[...document.images].every(i => !i.complete || i.naturalWidth > 0)")


def test_figures_equal_metrics_json(opened: Any, made: tuple[Evaluation, Path]) -> None:
    content = json.loads((made[1] / "metrics.json").read_text(encoding="utf-8"))
    found = texts(opened, "[...document.querySelectorAll('data[data-figure]')].map(d => [d.dataset.figure, d.value])")
    assert dict(found).keys() == content["figures"].keys()
    for name, value in found:
        assert (float(value) if value else None) == content["figures"][name]
    rows = texts(
        opened,
        "[...document.querySelectorAll('#class-table tbody tr')].map(r => Object.fromEntries("
        "[...r.querySelectorAll('[data-key]')].map(c => [c.dataset.key, c.dataset.value])))",
    )
    for row, expected in zip(rows, content["classes"], strict=True):
        for key, value in row.items():
            assert (float(value) if value else None) == expected[key]


def test_hostile_names_are_text(opened: Any) -> None:
    names = texts(opened, "[...document.querySelectorAll('#class-table tbody th')].map(c => c.textContent)")
    assert names == sorted(HOSTILE)
    assert texts(opened, "document.querySelectorAll('img[src=x], main b > i, h1 b').length") == 0
    assert texts(opened, "document.scripts.length") == 1
    assert "<b>more" in opened.title


def test_title_names_the_dataset(tmp_path: Path) -> None:
    places = (tmp_path / "Pets-split" / "validation", tmp_path / "photos", Path("s3://bucket/Pets/val"))
    assert [report_page._dataset(place) for place in places] == ["Pets-split/validation", "photos", "Pets/val"]


def test_sorts_by_keyboard_and_says_so(opened: Any) -> None:
    heading = opened.find_element("css selector", "#class-table th:nth-child(4) button")
    recall = "[...document.querySelectorAll('#class-table tbody [data-key=f1]')].map(c => Number(c.dataset.value))"
    for direction in ("descending", "ascending"):
        heading.send_keys("\ue007")
        values = texts(opened, recall)
        assert values == sorted(values, reverse=direction == "descending")
        assert len(set(values)) > 1
        assert texts(opened, "document.querySelector('#class-table th:nth-child(4)').ariaSort") == direction
        assert direction in texts(opened, "document.getElementById('sorted').textContent")


def test_filters_by_true_and_predicted_class(opened: Any, made: tuple[Evaluation, Path]) -> None:
    evaluation, _ = made
    first = evaluation.mistakes[0]
    cards = "[...document.querySelectorAll('.card')].filter(c => c.offsetParent)"
    visible = f"{cards}.map(c => [c.dataset.true, c.dataset.predicted])"
    assert len(texts(opened, visible)) == len(evaluation.mistakes) > 3
    button = opened.find_element(
        "css selector", f".matrix button[data-true='{first.truth}'][data-predicted='{first.predicted}']"
    )
    button.send_keys("\ue007")
    expected = [m for m in evaluation.mistakes if (m.truth, m.predicted) == (first.truth, first.predicted)]
    assert texts(opened, visible) == [[str(first.truth), str(first.predicted)]] * len(expected)
    assert texts(opened, "document.getElementById('shown').textContent").startswith(f"{len(expected)} of ")
    opened.execute_script(
        "const s = document.getElementById('filter-true'); s.value = arguments[0];"
        "document.getElementById('filter-predicted').value = arguments[0];"
        "s.dispatchEvent(new Event('change', {bubbles: true}))",
        str(first.truth),
    )
    assert texts(opened, visible) == []
    assert texts(opened, "!document.getElementById('none-shown').hidden")


@pytest.mark.parametrize("dark", [False, True])
def test_fits_a_phone_and_follows_the_theme(opened: Any, dark: bool) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    )
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        assert texts(opened, "document.documentElement.scrollWidth") <= 360
        colour = texts(opened, "getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, colour[4:-1].split(","))) < 200) == dark
        source = texts(opened, "document.querySelector('.plot img').currentSrc")
        alone = texts(opened, "document.querySelector('.plot img').src")
        assert (source != alone) == dark
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_speaks_to_a_screen_reader(opened: Any) -> None:
    assert texts(opened, "document.documentElement.lang") == "en"
    assert texts(opened, "[...document.images].every(i => i.alt.length > 3)")
    assert texts(opened, "[...document.querySelectorAll('select')].every(s => s.labels.length == 1)")
    assert texts(
        opened, "[...document.querySelectorAll('table')].every(t => t.caption && t.querySelector('th[scope]'))"
    )
    assert texts(opened, "document.querySelectorAll('h1').length") == 1
    assert texts(opened, "[...document.querySelectorAll('button')].every(b => b.textContent.trim() || b.ariaLabel)")


def test_stays_small(made: tuple[Evaluation, Path]) -> None:
    """The gallery is bounded, so the page of these images bounds that of any number of them."""
    evaluation, out = made
    assert len(evaluation.mistakes) <= evaluation.options.gallery
    assert (out / "report.html").stat().st_size < 3_000_000
    assert len(page(evaluation, with_plots=False)) < (out / "report.html").stat().st_size
    assert not math.isnan(evaluation.report.accuracy)


@pytest.mark.slow
def test_ten_thousand_real_images_stay_under_5_mb(flower_photos: Path, tmp_path: Path) -> None:
    """3,119 photos, each linked four times under other names."""
    labels = tuple(sorted(p.name for p in flower_photos.iterdir() if p.is_dir()))
    promise = contract(labels, 16)
    images, truth = [], []
    for k, label in enumerate(labels):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n, file in enumerate(sorted((flower_photos / label).iterdir())):
            if n < 100:
                images.append(decode(file.read_bytes(), promise.preprocess))
                truth.append(k)
            for copy in range(4):
                (tmp_path / "data" / label / f"{copy}-{file.name}").hardlink_to(file)
    model = write_linear_network(tmp_path / "m.onnx", promise, np.stack(images), np.array(truth))
    evaluation = evaluate(tmp_path / "data", model, tmp_path / "out")
    assert evaluation.data.n_files > 10_000
    assert len(evaluation.mistakes) == len(evaluation.doubtful) == 90
    assert (tmp_path / "out" / "report.html").stat().st_size < 5_000_000
