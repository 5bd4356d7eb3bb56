"""Images in object storage and behind URLs give the rows that the same files give on this machine."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import small
from support.command_line import ROOT, Cli
from support.object_server import Fault, ObjectServer, objects_of
from support.s3_server import BUCKET, SECRET, moto, put, use

import toolkit
from toolkit.data.remote import ahead, fetch, listing
from toolkit.data.remote.fetch import Patience

LATENCY_S = 0.05


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short waits: what takes a minute to give up on takes a second."""
    monkeypatch.setattr(fetch, "patience", Patience(attempts=4, wait_s=0.02, longest_s=0.1, limit_s=1.0))
    fetch.forget()
    yield
    fetch.forget()


@pytest.fixture(autouse=True)
def _no_connection_outlives_its_test() -> Iterator[None]:
    yield
    fetch.forget()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with good images, a broken one, an empty one, and a file that is none."""
    root = small.folders(tmp_path / "photos", 20)
    (root / "Cat" / "broken.jpg").write_bytes(b"nonsense")
    (root / "Dog" / "empty.png").write_bytes(b"")
    (root / "Dog" / "notes.txt").write_bytes(b"notes")
    (root / "Dog" / "süß 1%20#?+&.png").write_bytes(small.png(77))
    small.model(tmp_path / "m.onnx")
    return root


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def google_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `address` Google's storage."""
    account: dict[str, object] = {"gcs_base_url": address, "disable_oauth": True}
    account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))


def alike(remote: Path, local: Path, start: str, folder: str = "photos/") -> list[dict[str, str]]:
    """Assert that both hold the same rows, paths and times apart, and return the remote ones."""
    found, expected = rows(remote), rows(local)
    assert [row["path"].removeprefix(start) for row in found] == [row["path"].removeprefix(folder) for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert {**ours, "path": "", "mtime_ns": ""} == {**theirs, "path": "", "mtime_ns": ""}
    return found


def test_a_bucket_of_a_real_server_gives_the_local_rows(
    run: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto(monkeypatch) as client:
        put(client, {f"2026/{key}": data for key, data in objects_of(photos).items()})
        put(client, {"2026/Cat//odd.png": small.png(5), "2026/Cat/": b"", "2026/.hidden/1.png": small.png(6)})
        assert run("infer", "photos", "-o", "local.csv", "-m", "m.onnx").code == 0
        assert run("infer", "s3://photos/2026", "-o", "all.csv", "-m", "m.onnx").code == 0
        assert [row["status"] for row in rows(Path("all.csv")) if row["path"].endswith("Cat//odd.png")] == ["ok"]
        client.delete_object(Bucket=BUCKET, Key="2026/Cat//odd.png")
        done = run("infer", "s3://photos/2026/", "-o", "s3.csv", "-m", "m.onnx")
        assert done.code == 0
        assert "1 .txt" in done.err
        found = alike(Path("s3.csv"), Path("local.csv"), "s3://photos/2026/")
        assert all(int(row["mtime_ns"]) < 0 for row in found if row["size"])
        report, local = Path("s3.report.csv").read_text(), Path("local.report.csv").read_text()
        assert report == local

        # unchanged, changed in its bytes but not its size, new, gone
        changed = small.png(9)
        old = objects_of(photos)["Cat/1.png"]
        client.put_object(Bucket=BUCKET, Key="2026/Cat/1.png", Body=old[:-1] + bytes([old[-1] ^ 1]))
        client.put_object(Bucket=BUCKET, Key="2026/Cat/new.png", Body=changed)
        client.delete_object(Bucket=BUCKET, Key="2026/Cat/2.png")
        done = run("infer", "s3://photos/2026/", "-o", "s3.csv", "-m", "m.onnx", "--update")
        kept = len([row for row in found if row["size"]]) - 2
        assert f"{kept} unchanged" in done.err, done.err
        assert "1 gone" in done.err

        done = run("infer", "s3://photos/2026/Cat/1.png", "-m", "m.onnx", "--format", "csv", "-o", "-")
        assert [row["path"] for row in csv.DictReader(io.StringIO(done.out))] == ["s3://photos/2026/Cat/1.png"]
        done = run("infer", "s3://photos/2027", "-o", "none.csv", "-m", "m.onnx")
        assert (done.code, "found nothing" in done.err) == (3, True)
        done = run("infer", "s3://nowhere/x", "-o", "none.csv", "-m", "m.onnx")
        assert (done.code, "cannot be listed: there is no such" in done.err) == (3, True)


def test_every_fault_is_retried_or_becomes_a_row(
    run: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """A third of the objects fails at first, each in its own way; some never recover."""
    passing = [
        Fault(status=503),
        Fault(status=429),
        Fault(reset=True),
        Fault(cut=10),
        Fault(status=500),
        Fault(hang=True),
    ]
    lasting = {
        "Cat/3.png": (Fault(status=503), "the server answers HTTP 503 (4 attempts)"),
        "Cat/4.png": (Fault(reset=True), "the connection broke (4 attempts)"),
        "Cat/5.png": (Fault(byte_s=0.1), "it took too long (4 attempts)"),
        "Cat/6.png": (Fault(status=403), "access denied (HTTP 403): check the credentials in the environment"),
        "Cat/7.png": (Fault(status=404), "there is no such object"),
        "Cat/8.png": (Fault(cut=1), "the connection broke (4 attempts)"),
    }
    keys = sorted(objects_of(photos))

    def faults(method: str, key: str, before: int) -> Fault | None:
        if key in lasting:
            return lasting[key][0] if method == "GET" else None
        number = keys.index(key) if key in keys else 1
        return passing[number // 3 % len(passing)] if number % 3 == 0 and before < 2 else None

    assert run("infer", "photos", "-o", "local.csv", "-m", "m.onnx").code == 0
    expected = {row["path"].removeprefix("photos/"): row for row in rows(Path("local.csv"))}
    with ObjectServer(objects_of(photos), latency_s=LATENCY_S, faults=faults).serving() as server:
        use(monkeypatch, server.address)
        assert run("infer", "s3://photos", "-o", "s3.csv", "-m", "m.onnx").code == 0
        server.asked.clear()
        urls = [
            f"{server.address}/photos/{row.replace('%', '%25').replace('#', '%23').replace('?', '%3F')}"
            for row in expected
        ]
        Path("urls.txt").write_text("\n".join(urls))
        with Path("urls.txt").open("rb") as file:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
            assert run("infer", "-", "-o", "web.csv", "-m", "m.onnx").code == 0
    for name in ("s3.csv", "web.csv"):
        found = rows(Path(name))
        assert len(found) == len(expected)
        for row, key in zip(found, expected, strict=True):
            if key in lasting:
                assert (row["status"], row["error"]) == ("error", f"cannot be read: {lasting[key][1]}"), name
            else:
                same = {"path": row["path"], "mtime_ns": row["mtime_ns"]}
                assert row == {**expected[key], **same}, name


def test_shards_of_a_bucket_merge_to_the_whole(run: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ObjectServer(objects_of(photos)).serving() as server:
        use(monkeypatch, server.address)
        assert run("infer", "s3://photos/", "-o", "whole.csv", "-m", "m.onnx").code == 0
        assert run("infer", "s3://photos/", "-o", "part-1.csv", "-m", "m.onnx", "--shard", "1/2").code == 0
        monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
        monkeypatch.setenv("JOB_COMPLETIONS", "2")
        assert run("infer", "s3://photos/", "-o", "part-2.csv", "-m", "m.onnx", "--shard", "auto").code == 0
        assert run("merge", "part-1.csv", "part-2.csv", "-o", "merged.csv").code == 0
        assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
        assert run("infer", "s3://photos/", "-o", "parts/", "-m", "m.onnx", "--part-size", "7").code == 0
        assert len(list(Path("parts").glob("part-*.parquet"))) == -(-len(rows(Path("whole.csv"))) // 7)
        again = run("infer", "s3://photos/", "-o", "parts/", "-m", "m.onnx", "--part-size", "7")
        assert f"{len(rows(Path('whole.csv')))} unchanged" in again.err


def test_actors_of_ray_read_the_same_bucket(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with ObjectServer(objects_of(photos), latency_s=LATENCY_S).serving() as server:
        use(monkeypatch, server.address)
        for name, more in (("one", []), ("ray", ["--engine", "ray", "--workers", "1"])):
            command = [
                sys.executable,
                "-m",
                "toolkit",
                "infer",
                "s3://photos/",
                "-o",
                f"{name}.csv",
                "-m",
                "m.onnx",
                *more,
            ]
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, env=_environment(), check=False
            )
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_nothing_secret_is_written_or_printed(
    run: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    signed = "X-Amz-Credential=tester&X-Amz-Signature=5ecre7&id=5"
    with ObjectServer(objects_of(photos)).serving() as server:
        use(monkeypatch, server.address)
        host = server.address.removeprefix("http://")
        urls = [
            f"http://me:{SECRET}@{host}/photos/Cat/1.png?{signed}",
            f"http://me:{SECRET}@{host}/photos/Cat/gone.png?{signed}&sig={SECRET}",
            f"http://me:{SECRET}@127.0.0.1:1/x.png?token={SECRET}",
        ]
        done = run("infer", *urls, "-o", "web.csv", "-m", "m.onnx", "--shard", "1/1", "--verbose")
        shard = Path("web.shard").read_bytes()
        assert any("authorization: Basic" in head or "Authorization: Basic" in head for head in server.headers)
        again = run("infer", f"s3://me:{SECRET}@photos/x", "-o", "s3.csv", "-m", "m.onnx")
        out = run("infer", "photos", "-o", f"s3://me:{SECRET}@photos/x.csv", "-m", "m.onnx")
    assert done.code == 0
    assert (again.code, out.code) == (2, 2)
    written = done.out + done.err + again.err + out.err + Path("web.csv").read_text() + shard.decode()
    assert SECRET not in written
    assert "5ecre7" not in written
    assert [row["path"] for row in rows(Path("web.csv"))] == [
        f"http://{host}/photos/Cat/1.png?id=5",
        f"http://{host}/photos/Cat/gone.png?id=5",
        "http://127.0.0.1:1/x.png",
    ]


def test_a_killed_run_continues_and_a_list_of_urls_is_updated(
    run: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ObjectServer(objects_of(photos), latency_s=LATENCY_S).serving() as server:
        use(monkeypatch, server.address)
        server.latency_s = 0.3
        command = [sys.executable, "-m", "toolkit", "infer", "s3://photos/", "-o", "s3.csv", "-m", "m.onnx"]
        process = subprocess.Popen([*command, "--batch-size", "1"], cwd=tmp_path, env=_environment())
        partial = tmp_path / "s3.csv.partial"
        while not (partial.exists() and partial.stat().st_size > 200):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        server.latency_s = 0.0
        server.asked.clear()
        done = run(*command[3:], "--batch-size", "1")
        assert "by an earlier run" in done.err
        assert run("infer", "s3://photos/", "-o", "again.csv", "-m", "m.onnx", "--batch-size", "1").code == 0
        assert Path("s3.csv").read_bytes() == Path("again.csv").read_bytes()

        urls = "\n".join(f"{server.address}/photos/Cat/{i}.png" for i in range(9))
        for _ in range(2):
            server.asked.clear()
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(urls.encode())))
            done = run("infer", "-", "-o", "web.csv", "-m", "m.onnx", "--update")
        assert "9 unchanged" in done.err
        assert not any(method == "GET" for method, _ in server.asked)


def test_python_takes_urls(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ObjectServer(objects_of(photos)).serving() as server:
        use(monkeypatch, server.address)
        host = server.address.removeprefix("http://")
        paths = [
            "photos/Cat/1.png",
            "s3://photos/Cat/1.png",
            f"http://me:{SECRET}@{host}/photos/Cat/1.png?sig={SECRET}",
        ]
        answers = toolkit.BatchLabeller("m.onnx")({"path": paths})
        assert list(answers["path"]) == [*paths[:2], f"{server.address}/photos/Cat/1.png"]
        assert len(set(answers["confidence"])) == 1
        assert list(answers["status"]) == ["ok"] * 3
        result = toolkit.infer([Path("s3://photos/Cat"), "s3://photos/Cat/1.png"], "s3.csv", model="m.onnx")
        assert result.counts.repeated == 1
        assert toolkit.load("m.onnx").predict([paths[1]]).best == (answers["label"][0],)


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_google_and_azure_give_the_local_rows(
    scheme: str, run: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("infer", "photos", "-o", "local.csv", "-m", "m.onnx").code == 0
    objects = {f"a/{key}": data for key, data in objects_of(photos).items()}
    with ObjectServer({**objects, "a/": b"", "a/Cat/": b""}, page=7).serving() as server:
        google_at(server.address, monkeypatch)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "tester")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm90LXRvLWJlLXNlZW4=")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.address)
        done = run("infer", f"{scheme}://photos/a/", "-o", "remote.csv", "-m", "m.onnx")
        assert done.code == 0, done.err
        alike(Path("remote.csv"), Path("local.csv"), f"{scheme}://photos/a/")
        done = run("infer", f"{scheme}://photos/a", "-o", "remote.csv", "-m", "m.onnx", "--update")
        assert " 0 new or changed" in done.err
        done = run("infer", f"{scheme}://photos/a/Cat/2.png", "-m", "m.onnx")
        assert (done.code, f"{scheme}://photos/a/Cat/2.png: " in done.out) == (0, True)
        assert run("infer", f"{scheme}://photos/a/Cat/2", "-m", "m.onnx").code == 3
        listed = "\n".join(f"{scheme}://photos/a/{key}" for key in ("Cat/1.png", "Cat/none.png"))
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
        assert run("infer", "-", "-o", "list.csv", "-m", "m.onnx").code == 0
        assert [row["error"] for row in rows(Path("list.csv"))] == ["", "cannot be read: there is no such object"]
        assert listing.folders_at(f"{scheme}://photos/a/") == ["Cat", "Dog"]
        server.objects["a/e//f.jpg"] = b""
        done = run("infer", f"{scheme}://photos/a/", "-o", "odd.csv", "-m", "m.onnx")
        assert (done.code, "cannot be listed: it holds a/e//f.jpg, a name with an empty part" in done.err) == (3, True)
        assert "give a list of URLs on stdin" in done.err


def test_a_missing_extra_is_named(run: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch.forget()
    monkeypatch.setitem(sys.modules, "obstore", None)
    for scheme, extra in (("s3", "s3"), ("gs", "gcs"), ("az", "azure")):
        done = run("infer", f"{scheme}://photos/", "-o", "x.csv", "-m", "m.onnx")
        assert (done.code, f'"toolkit-images[{extra}]"' in done.err) == (8, True)


def test_local_runs_load_nothing_of_the_network(photos: Path, tmp_path: Path) -> None:
    program = (
        "import json, sys; sys.argv[0] = 'toolkit'; from toolkit.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "names = ('obstore', 'boto3', 'urllib3', 'fsspec', 'aiohttp', 'requests')\n"
        "print(json.dumps([name for name in names if name in sys.modules]), file=sys.__stdout__)"
    )
    for arguments in (["--help"], ["infer", "photos", "-o", "x.csv", "-m", "m.onnx"]):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=_environment(), check=True)
        assert json.loads(done.stdout.splitlines()[-1]) == []


def test_reading_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    data = {f"{i:03}.png": small.png(i, 64) for i in range(120)}
    size = max(map(len, data.values()))
    with ObjectServer(data, latency_s=0.01).serving() as server:
        use(monkeypatch, server.address)
        samples = [fetch.unknown(f"s3://photos/{key}")._replace(size=len(data[key])) for key in data]
        with ahead.ReadAhead(readers=16, most_bytes=4 * size) as reads:
            reads.begin(samples)
            while server.asked.total() < 3:
                time.sleep(0.01)
            time.sleep(0.1)
            assert server.asked.total() <= 5
            for sample, expected in zip(samples, data.values(), strict=True):
                assert reads.take(sample)[1] == expected
        assert server.most_at_once <= 5
        with ahead.ReadAhead(readers=16) as reads:
            assert [reads.take(s)[1] for batch in reads.batches(iter([samples[:50], samples[50:]])) for s in batch] == [
                *data.values()
            ]
        assert server.most_at_once > 8


def test_evaluate_of_a_bucket_takes_labels(
    run: Cli, photos: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto(monkeypatch) as client:
        put(client, objects_of(photos))
        others = {"Cat": "Dog", "Dog": "Cat"}
        labels = {key: others[key.partition("/")[0]] for key in objects_of(photos) if key.partition("/")[0] in others}
        for table, start in (("names.csv", ""), ("urls.csv", "s3://photos/")):
            lines = [f"{start}{key},{label}" for key, label in labels.items()]
            Path(table).write_text("\n".join(["file_name,label", *lines, ""]))
        assert run("evaluate", "photos", "-m", "m.onnx", "-o", "local", "--labels", "names.csv").code == 0
        for table in ("names.csv", "urls.csv"):
            done = run("evaluate", "s3://photos", "-m", "m.onnx", "-o", "remote", "--labels", table)
            assert done.code == 0, done.err
            assert Path("remote/confusion.csv").read_bytes() == Path("local/confusion.csv").read_bytes()


def test_evaluate_split_and_merge_take_a_bucket(
    run: Cli, photos: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto(monkeypatch) as client:
        put(client, objects_of(photos))
        put(
            client, {f"set/{part}/{key}": data for part in ("train", "val") for key, data in objects_of(photos).items()}
        )
        assert run("evaluate", "photos", "-m", "m.onnx", "-o", "local").code == 0
        done = run("evaluate", "s3://photos/set", "-m", "m.onnx", "-o", "remote")
        assert done.code == 0, done.err
        assert "s3://photos/set is a split tree: evaluating val" in done.err
        for name in ("report.csv", "confusion.csv"):
            assert Path("remote", name).read_bytes() == Path("local", name).read_bytes()
        alike(Path("remote/predictions.csv"), Path("local/predictions.csv"), "s3://photos/set/val/")
        metrics = json.loads(Path("remote/metrics.json").read_text())
        assert "s3://photos/set/val" in json.dumps(metrics)
        assert "trained on" not in done.err
        assert "data:image" in Path("remote/report.html").read_text()
        assert run("evaluate", "s3://photos/none", "-m", "m.onnx", "-o", "x").code == 3
        assert run("evaluate", "https://127.0.0.1:1/none", "-m", "m.onnx", "-o", "x").code == 3
        assert run("evaluate", "photos", "-m", "m.onnx", "-o", "s3://photos/x").code == 2

        for key in ("set/train", "set/val"):
            for name in objects_of(photos):
                client.delete_object(Bucket=BUCKET, Key=f"{key}/{name}")
        assert run("split", "photos", "--mode", "none", "--out", "local-split").code == 0
        assert sorted(path.name for path in Path("local-split").iterdir() if path.name[0] != ".") == [
            "split.csv",
            "split.json",
        ]
        assert run("split", "photos", "--out", "copied").code == 0
        assert Path("copied/split.csv").read_bytes() == Path("local-split/split.csv").read_bytes()
        done = run("split", "s3://photos", "--mode", "none")
        assert done.code == 0, done.err
        assert Path("photos-split/split.csv").read_bytes() == Path("local-split/split.csv").read_bytes()
        assert "left alone" in run("split", "s3://photos", "--mode", "none").err
        client.put_object(Bucket=BUCKET, Key="Cat/more.png", Body=small.png(500))
        assert run("split", "s3://photos", "--mode", "none").code == 3
        before = {row["path"]: row["subset"] for row in rows(Path("photos-split/split.csv"))}
        assert run("split", "s3://photos", "--mode", "none", "--update").code == 0
        after = {row["path"]: row["subset"] for row in rows(Path("photos-split/split.csv"))}
        assert after.pop("Cat/more.png") in ("train", "validation")
        assert after == before
        for arguments, code in ((["--mode", "copy"], 2), (["--mode", "none", "--out", "s3://photos/x"], 2)):
            assert run("split", "s3://photos", *arguments).code == code
        assert run("check", "s3://photos").code == 2

        for i in (1, 2):
            assert run("infer", "photos", "--shard", f"{i}/2", "-o", f"labels-{i}.csv", "-m", "m.onnx").code == 0
            for path in (f"labels-{i}.csv", f"labels-{i}.shard"):
                put(client, {f"night/{path}": Path(path).read_bytes()})
        assert run("infer", "photos", "-o", "whole.csv", "-m", "m.onnx").code == 0
        shards = [f"s3://photos/night/labels-{i}.csv" for i in (1, 2)]
        assert run("merge", *shards, "-o", "merged.csv").code == 0
        assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
        done = run("merge", shards[0], "-o", "one.csv")
        assert (done.code, "2/2" in done.err) == (3, True)
        client.delete_object(Bucket=BUCKET, Key="night/labels-2.shard")
        done = run("merge", *shards, "-o", "one.csv")
        assert (done.code, "s3://photos/night/labels-2.shard" in done.err) == (3, True)


def test_a_table_alone_takes_away_what_was_placed_before(run: Cli, photos: Path) -> None:
    assert run("split", "photos", "--out", "out").code == 0
    assert len(list(Path("out").rglob("*.png"))) > 30
    assert run("split", "photos", "--out", "out", "--mode", "none").code == 3
    assert run("split", "photos", "--out", "out", "--mode", "none", "--force").code == 0
    assert not list(Path("out").rglob("*.png"))
    mine = Path("out/train/Cat/0.png")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    run("split", "photos", "--out", "out", "--force")
    run("split", "photos", "--out", "out", "--mode", "none", "--force")
    assert mine.read_bytes() == b"mine"


@pytest.mark.slow
def test_twenty_thousand_objects_give_the_local_rows(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "photos"
    for k in range(20):
        folder = root / small.LABELS[k % 2] / f"{k:02}"
        folder.mkdir(parents=True)
        for i in range(1000):
            (folder / f"{i:04}.png").write_bytes(small.png(1000 * k + i, 8))
    small.model(tmp_path / "m.onnx")
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/support/object_server.py"), str(root), "--latency", str(LATENCY_S)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        use(monkeypatch, server.stdout.readline().strip())
        assert run("infer", "photos", "-o", "local.csv", "-m", "m.onnx").code == 0
        assert run("infer", "s3://photos/", "-o", "s3.csv", "-m", "m.onnx").code == 0
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()
        fetch.forget()
    assert len(alike(Path("s3.csv"), Path("local.csv"), "s3://photos/")) == 20_000


def test_hostile_answers_are_rows(run: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    """A large body that is no image is given up on at its beginning."""
    monkeypatch.setattr(fetch, "SNIFF_FIRST_BYTES", 1 << 16)
    data: dict[str, Any] = {"large.jpg": b"<html>" + bytes(1 << 20), "text.jpg": b"<html>"}
    with ObjectServer(data).serving() as server:
        use(monkeypatch, server.address)
        urls = [f"{server.address}/photos/large.jpg", "http://", "http://[x/1.jpg", "https://127.0.0.1:1/a.jpg"]
        odd = ["s3://photos//odd.jpg", "s3://me:word@photos/a.jpg", "gs://photos/a/../b.jpg", "http://127.0.0.1:1"]
        google_at("http://127.0.0.1:1", monkeypatch)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(odd).encode())))
        urls.append("-")
        assert run("infer", "s3://photos/", *urls, "-o", "s3.csv", "-m", "m.onnx").code == 6
    found = rows(Path("s3.csv"))
    assert len(found) == 10
    assert "holds credentials" in found[7]["error"]
    assert "empty part" in found[8]["error"]
    assert {row["status"] for row in found} == {"error"}
