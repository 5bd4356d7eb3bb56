"""The edge kit's clients give the expected answers: Python without toolkit, and the page in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from support.bundles import make_bundle, unpack_some

from toolkit.core.errors import UsageError
from toolkit.exporting.export import export
from toolkit.exporting.options import ExportOptions
from toolkit.training.recipes.recipe import load_recipe


@pytest.fixture(scope="module")
def bundle(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit")
    images = unpack_some(data_dir / "fashion_mnist_images.zip", folder / "images", "fashion_mnist_images/test", 60)
    return make_bundle(folder / "model", load_recipe("fashion"), images, per_class=60, epochs=10)


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def kit(bundle: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    wanted: dict[str, Any] = {request.param: True}
    path = export(bundle, ExportOptions(kit=True, out=out, **wanted)).kit_path
    assert path is not None
    return path


def test_the_python_client_needs_nothing_of_ours(kit: Path, tmp_path: Path) -> None:
    samples = json.loads((kit / "samples.json").read_text())
    assert len({sample["label"] for sample in samples}) == 3
    # -P and another folder: this checkout's toolkit is not on the path, and its import fails.
    (tmp_path / "toolkit.py").write_text("raise ImportError('the client must not need this')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, kit / "classify.py", *(kit / sample["file"] for sample in samples)],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1] for row in rows] == [sample["label"] for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        assert abs(float(row[2]) - max(sample["probabilities"])) < 1e-5


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    missing = [name for name in ("chromium", "chromedriver", "npm") if not shutil.which(name)]
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but {', '.join(missing)} is not installed")
        pytest.skip(f"not installed here: {', '.join(missing)}")
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver"))))
    yield driver
    driver.quit()


def test_the_page_gives_the_expected_labels_in_a_browser(bundle: Path, tmp_path: Path, browser: Any) -> None:
    kit = export(bundle, ExportOptions(onnx=True, kit=True, out=tmp_path)).kit_path
    assert kit is not None
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=kit, check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(kit)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.get(f"http://127.0.0.1:{server.server_port}/index.html")
        WebDriverWait(browser, 60).until(lambda b: b.execute_script("return window.answers || window.failure"))
        assert browser.execute_script("return window.failure || null") is None
        results = browser.execute_script("return window.answers")
    finally:
        server.shutdown()
        server.server_close()
    samples = json.loads((kit / "samples.json").read_text())
    assert [result["label"] for result in results] == [sample["label"] for sample in samples]
    for result, sample in zip(results, samples, strict=True):
        assert np.abs(np.array(result["probabilities"]) - sample["probabilities"]).max() < 1e-3
    browser.save_screenshot(str(tmp_path / "page.png"))


def test_a_kit_needs_a_file_that_clients_run() -> None:
    with pytest.raises(UsageError, match="clients"):
        ExportOptions(savedmodel=True, kit=True)
