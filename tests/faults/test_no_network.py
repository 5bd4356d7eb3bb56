"""Every command does its work where there is no network at all; the demo, too: tests/cli/test_demo.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import small
from support.no_network import cannot_cut_off, cut_off

COMMANDS = [
    ["doctor"],
    ["check", "photos", "--out", "findings.csv", "--html", "findings.html"],
    ["split", "photos", "--ratio", "0.75", "--out", "parts"],
    ["recipe", "show", "fashion"],
    ["train", "parts", "--recipe", "fashion", "--epochs", "1", "--cache-dir", "cache", "--out", "model"],
    ["export", "model", "--onnx"],
    ["inspect", "model/model.onnx"],
    ["infer", "photos", "--out", "labels.csv"],
    ["infer", "photos/Cat/0.png"],
    ["evaluate", "parts", "--model", "model", "--out", "evaluation"],
    ["evaluate", "parts", "--model", "model", "--model", "model/model.onnx", "--out", "comparison"],
    ["view", "labels.csv"],
    ["review", "labels.csv", "--to", "label-studio", "--file", "tasks.json"],
    ["sort", "labels.csv", "--into", "sorted"],
    ["bench", "model", "photos", "--seconds", "1"],
    ["embed", "photos", "--model", "model/model.onnx", "--out", "features.npy"],
    ["adopt", "foreign.onnx", "--preset", "imagenet", "--labels", "labels.txt", "--out", "mine.onnx"],
    ["cache"],
]

REVIEW = """
import fcntl, http.client, json, socket, struct, subprocess, sys, urllib.parse

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # the loopback interface goes up: IFF_UP by SIOCSIFFLAGS
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))
command = [sys.executable, "-m", "toolkit", "review", "labels.csv", "--no-browser"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
address = urllib.parse.urlsplit(server.stdout.readline().strip())
page = http.client.HTTPConnection(address.netloc)
for place in ("", "thumbnail/0", "image/0"):
    page.request("GET", address.path + place)
    answer = page.getresponse()
    assert answer.status == 200 and answer.read(), place
headers = {"Origin": f"http://{address.netloc}", "Content-Type": "application/json"}
for place, content in (("decide", {"image": 0, "label": "Cat"}), ("finish", {})):
    page.request("POST", address.path + place, json.dumps(content), headers)
    assert page.getresponse().read() == b"{}", place
sys.exit(server.wait())
"""


@pytest.mark.slow
def test_every_command_works_without_a_network(tmp_path: Path) -> None:
    if why := cannot_cut_off(tmp_path):
        pytest.skip(why)
    small.folders(tmp_path / "photos", per_class=8)
    small.foreign_onnx(tmp_path / "foreign.onnx")
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(5)))
    for command in COMMANDS:
        done = cut_off("-m", "toolkit", *command, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
    done = cut_off("-c", REVIEW, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 image decided" in done.stderr
