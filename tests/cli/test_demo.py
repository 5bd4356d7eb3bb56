"""The images that ship with the package."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from support.command_line import ROOT, run_cli, run_python
from support.no_network import cannot_cut_off, cut_off

from toolkit.cli.machine import demo
from toolkit.cli.machine.demo import STEPS, unpack_images
from toolkit.core.errors import InputError
from toolkit.images.decode import decode
from toolkit.images.spec import Colour, Preprocess

PACKED = ROOT / "toolkit" / "_demo" / "fashion.zip"


def test_two_thousand_images_under_a_megabyte_and_a_half_with_their_licence(tmp_path: Path) -> None:
    assert PACKED.stat().st_size < 1_500_000
    folder = unpack_images(tmp_path / "demo")
    counts = {label.name: len(list(label.glob("*.png"))) for label in folder.iterdir()}
    assert len(counts) == 10
    assert set(counts.values()) == {200}
    assert "Zalando" in (folder.parent / "LICENSE-Fashion-MNIST.txt").read_text(encoding="utf-8")


@pytest.mark.usefixtures("real_images")
def test_every_image_is_one_of_the_archive_pixel_for_pixel(data_dir: Path) -> None:
    found = importlib.util.spec_from_file_location("make_demo_images", ROOT / "tools" / "make_demo_images.py")
    assert found is not None
    assert found.loader is not None
    maker = importlib.util.module_from_spec(found)
    found.loader.exec_module(maker)
    spec = Preprocess(height=28, width=28, colour=Colour.GREY)
    with zipfile.ZipFile(PACKED) as packed, zipfile.ZipFile(data_dir / "fashion_mnist_images.zip") as archive:
        for index, label in enumerate(maker.CLASSES):
            prefix = f"fashion_mnist_images/train/{index}/"
            names = sorted(name for name in archive.namelist() if name.startswith(prefix) and name.endswith(".png"))
            for number, name in enumerate(names[: maker.PER_CLASS]):
                ours = decode(packed.read(f"fashion/{label}/{number:03}.png"), spec)
                assert (ours == decode(archive.read(name), spec)).all(), (label, number)


def test_the_demo_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(InputError, match="something in it"):
        unpack_images(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.slow
def test_the_demo_runs_every_step_where_there_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    start = run_python if cannot_cut_off(tmp_path) else cut_off
    done = start("-m", "toolkit", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("$ toolkit ")] == [s.arguments[0] for s in STEPS]
    assert "\\n" not in done.stderr
    assert (tmp_path / lines[-1]).name == "report.html"
    assert (tmp_path / lines[-1]).is_file()
    folder = tmp_path / "toolkit-demo"
    assert (folder / "model" / "model.tflite").is_file()
    found = pd.read_csv(folder / "labels.csv")
    assert len(found) == 400
    assert 0.78 <= (found["label"] == found["truth"]).mean() <= 0.9
    again = run_cli("demo", cwd=tmp_path)
    assert again.returncode == 3
    assert "toolkit demo OTHER_DIR" in again.stderr


def test_its_last_line_is_the_report_and_each_step_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_run", lambda *_: 0)
    demo.demo(tmp_path / "tour")
    lines = capfd.readouterr().err.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("$ toolkit ")] == [s.arguments[0] for s in STEPS]
    assert lines[-1] == str(tmp_path / "tour" / "report" / "report.html")
    assert not any("\\n" in line for line in lines)
