"""Where the tests find images, and the browser that they look at pages with."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.command_line import ROOT, Cli, Done
from support.stand_in_images import make_archive

ARCHIVES = ("PetImages.zip", "flower_photos.tgz", "cell_images.zip", "fashion_mnist_images.zip")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests start Python a thousand times: without byte code, half of each start is compiling.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def find_data() -> Path | None:
    """The folder of the real images: `$TOOLKIT_DATA`, or `shared/data` beside the checkout."""
    named = os.environ.get("TOOLKIT_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if all((folder / name).is_file() for name in ARCHIVES) else None


def pytest_report_header() -> str:
    folder = find_data()
    return f"real images: {folder or 'none found, images made by a script take their place; set TOOLKIT_DATA'}"


def pytest_configure() -> None:
    # A shell starts its background jobs with SIGINT ignored, and what they start inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("REQUIRE_REAL_IMAGES") and find_data() is None:
        pytest.exit("there are no real images: set TOOLKIT_DATA to the folder with the archives", 3)


@pytest.fixture(scope="session")
def data_dir(pytestconfig: pytest.Config) -> Path:
    """The folder with the four archives: of real images, or of those that a script makes once in their place."""
    folder = find_data()
    if folder is None:
        folder = ROOT / ".pytest_cache" / "stand-in-images"
        for name in ARCHIVES:
            make_archive(folder, name)
    return folder


@pytest.fixture(scope="session")
def real_images() -> None:
    """For tests of accuracy, and of what only photos show: skipped where the archives of real images are missing."""
    if find_data() is None:
        pytest.skip("no real images: neither ../shared/data nor $TOOLKIT_DATA holds the archives")


@pytest.fixture(scope="session")
def pet_images(data_dir: Path) -> Path:
    """`PetImages` unpacked, 1,211 files with the planted faults. Read only: copy before changing anything."""
    return _unpack(data_dir / "PetImages.zip") / "PetImages"


@pytest.fixture(scope="session")
def flower_photos(data_dir: Path) -> Path:
    """`flower_photos` unpacked, 3,119 JPEGs in five class folders. Read only."""
    return _unpack(data_dir / "flower_photos.tgz") / "flower_photos"


@pytest.fixture(scope="session")
def cell_images(data_dir: Path) -> Path:
    """`cell_images` unpacked, 22,046 small grey PNGs in two class folders. Read only."""
    return _unpack(data_dir / "cell_images.zip") / "cell_images"


@pytest.fixture(scope="session")
def fashion_images(data_dir: Path) -> Path:
    """`train/0..9` and `test/0..9` of Fashion-MNIST, unpacked, 70,000 small grey PNGs. Read only."""
    return _unpack(data_dir / "fashion_mnist_images.zip") / "fashion_mnist_images"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as `pip install` builds it."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return zipfile.ZipFile(next(out.glob("*.whl")))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        assert os.environ.get("CI") != "true", "CI=true, but there is no chromium with chromedriver"
        pytest.skip("no chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def _unpack(archive: Path) -> Path:
    """The folder that `archive` is unpacked in: once for all runs of the tests on this machine, they only read it."""
    status = archive.stat()
    target = Path(tempfile.gettempdir()) / f"toolkit-test-images-{getpass.getuser()}"
    target /= f"{archive.stem}-{status.st_size}-{status.st_mtime_ns}"
    if target.is_dir():
        return target
    target.parent.mkdir(exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=target.parent))
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(new)
    else:
        with tarfile.open(archive) as tarred:
            if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
                tarred.extractall(new, filter="data")
            else:
                tarred.extractall(new)
    try:
        new.rename(target)
    except OSError:  # another run of the tests was faster
        shutil.rmtree(new)
    return target


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run `toolkit` in the folder of the test and in this process: starting Python a hundred times takes minutes."""
    from toolkit import cli
    from toolkit.cli import console

    monkeypatch.setattr(console, "keep_native_messages_out", lambda: None)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str | Path) -> Done:
        monkeypatch.setattr("sys.argv", ["toolkit", *map(str, arguments)])
        for name in ("quiet", "verbose", "json"):
            setattr(console.Settings, name, False)
        capfd.readouterr()
        code = cli.main()
        return Done(code, *capfd.readouterr())

    return command


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports that are written in this process have no plots and no measured speed, which take seconds."""
    from toolkit.evaluation import report, report_page

    monkeypatch.setattr(report, "write_plots", lambda *_: None)
    monkeypatch.setattr(report, "write_page", partial(report_page.write_page, with_plots=False))
    monkeypatch.setattr("toolkit.evaluation.evaluate._run_ms", lambda *_: 1.0)
