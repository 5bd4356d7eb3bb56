"""Ray as the engine: the same bytes as the local one, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.command_line import environment, run_cli

from toolkit.core.errors import MachineError, UsageError
from toolkit.core.progress import SilentProgress
from toolkit.inference.infer import infer
from toolkit.inference.inputs import Inputs
from toolkit.inference.options import InferOptions
from toolkit.inference.result import InferResult

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes with one processor each, and a driver's connection to it."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small.folders(tmp_path / "photos", 300)
    Path("photos/Cat/broken.png").write_bytes(small.png(1)[:50])
    small.model(tmp_path / "model.onnx")
    label("whole.csv")
    return tmp_path


def label(out: str, progress: Any = None, **more: Any) -> InferResult:
    options = InferOptions(batch_size=4, **more)
    inputs = Inputs(paths=("photos",))
    return infer(inputs, Path(out), Path("model.onnx"), options, progress=progress or SilentProgress())


class Hook(SilentProgress):
    """Calls `action` once after 100 rows."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.n = 0
        self.action = action
        self.warnings: list[str] = []

    def advance(self, n: int = 1) -> None:
        before, self.n = self.n, self.n + n
        if before < 100 <= self.n:
            self.action()

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def same(out: str) -> None:
    for kind in (".csv", ".report.csv", ".confusion.csv"):
        assert Path(out + kind).read_bytes() == Path("whole" + kind).read_bytes()


def workers() -> list[int]:
    """The processes of actors."""
    import psutil

    return [p.pid for p in psutil.process_iter(["cmdline"]) if "ray::Worker" in " ".join(p.info["cmdline"] or [])]


def kill_workers() -> None:
    for pid in workers():
        os.kill(pid, signal.SIGKILL)


def test_the_same_bytes_and_a_worker_that_is_killed(nodes: Any, tree: Path) -> None:
    label("labels.csv", engine="ray", ray_address=nodes.address)
    same("labels")
    hook = Hook(kill_workers)
    result = label("again.csv", hook, engine="ray", ray_address=nodes.address)
    assert result.n_errors == 1
    assert hook.warnings
    same("again")


def test_a_node_that_dies(nodes: Any, tree: Path) -> None:
    lost = nodes.add_node(num_cpus=1)
    hook = Hook(lambda: nodes.remove_node(lost, allow_graceful=False))
    label("labels.csv", hook, engine="ray", ray_address=nodes.address, workers=3)
    same("labels")


def test_an_image_that_kills_its_worker_is_a_row(nodes: Any, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.inference.distributed import ray_workers

    class Deadly(ray_workers._Worker):
        def rows(self, samples: Any) -> Any:
            if any(sample.name.endswith("Dog/7.png") for sample in samples):
                os._exit(1)
            return super().rows(samples)

    monkeypatch.setattr(ray_workers, "_Worker", Deadly)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    result = label("labels.csv", engine="ray", ray_address=nodes.address)
    assert result.n_errors == 2
    mine, whole = (Path(name).read_text().splitlines() for name in ("labels.csv", "whole.csv"))
    differ = [(a, b) for a, b in zip(mine, whole, strict=True) if a != b]
    assert len(differ) == 1
    assert "Dog/7.png,,,Dog,error,a worker process died of this image 3 times" in differ[0][0]


def test_a_driver_that_is_killed_is_continued(tree: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "infer", "photos", "--model", "model.onnx", "--out", "labels.csv"]
    command += ["--batch-size", "4", "--engine", "ray", "--workers", "1"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, start_new_session=True)
    partial = Path("labels.csv.partial")
    waited = threading.Event()
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 500):
        waited.wait(0.01)
    process.kill()
    process.communicate()
    done = run_cli(*command[3:], cwd=tree)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1  # nothing of Ray's own
    assert Path("labels.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="--ray-address is for --engine ray"):
        InferOptions(ray_address="auto")
    with pytest.raises(UsageError, match="--engine spark"):
        InferOptions(engine="spark")  # type: ignore[arg-type]
    assert MachineError.exit_code == 8
