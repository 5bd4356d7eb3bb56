"""The job files of docs/scaling.md: their syntax, and what they do when the variables are set."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.command_line import ROOT, environment, run_cli

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def block(language: str, starts: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if text.startswith(starts)]
    assert len(found) == 1, f"{language} {starts}: {len(found)} blocks"
    return str(found[0])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as the jobs expect it, with a `toolkit` on the path and the result of one run."""
    small.folders(tmp_path / "photos", 10)
    (tmp_path / "model").mkdir()
    small.model(tmp_path / "model" / "model.onnx")
    command = tmp_path / "bin" / "toolkit"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m toolkit "$@"\n')
    command.chmod(0o755)
    assert run_cli("infer", "photos", "--out", "whole.csv", cwd=tmp_path).returncode == 0
    return tmp_path


def shell(command: list[str], cwd: Path, **variables: str) -> None:
    path = f"{cwd / 'bin'}:{environment()['PATH']}"
    subprocess.run(command, cwd=cwd, env=environment(PATH=path, **variables), check=True)


def merged(data: Path, *parts: str) -> None:
    done = run_cli("merge", *(parts or sorted(p.name for p in data.glob("labels-*.csv"))), "--out", "l.csv", cwd=data)
    assert done.returncode == 0, done.stderr
    assert (data / "l.csv").read_bytes() == (data / "whole.csv").read_bytes()


def test_slurm(data: Path) -> None:
    script = data / "labels.sbatch"
    script.write_text(block("bash", "#!/bin/bash"))
    settings = dict(re.findall(r"#SBATCH --([a-z-]+)(?:=(\S+))?", script.read_text()))
    first, last = map(int, settings["array"].split("-"))
    assert (first, last) == (1, 64)
    array = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "3"}
    for task in (1, 2, 3):
        shell(["bash", str(script)], data, SLURM_ARRAY_TASK_ID=str(task), **array)
    merged(data)
    subprocess.run(["bash", "-n"], input=block("bash", "job="), text=True, check=True)


def test_kubernetes(data: Path) -> None:
    yaml = pytest.importorskip("yaml")
    job: dict[str, Any] = yaml.safe_load(block("yaml", "apiVersion"))
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert variables == {"JOB_COMPLETIONS": str(job["spec"]["completions"])}
    volumes = {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    for index in range(3):
        command = [*container["command"], *container["args"]]
        shell(command, data, JOB_COMPLETION_INDEX=str(index), JOB_COMPLETIONS="3")
    merged(data)


def test_cron(data: Path) -> None:
    lines = [line for host in ("first", "second") for line in block("cron", f"# on the {host}").splitlines()[1:]]
    assert len(lines) == 3
    jobs = [re.fullmatch(r"(\d+ \d+ \* \* \*) (.*)", line) for line in lines]
    for name in ("infer", "merge"):
        for job in jobs:
            assert job is not None
            if f"toolkit {name}" in job[2]:
                shell(["sh", "-c", job[2].replace("cd /data", f"cd {shlex.quote(str(data))}")], data)
    assert (data / "labels.csv").read_bytes() == (data / "whole.csv").read_bytes()
