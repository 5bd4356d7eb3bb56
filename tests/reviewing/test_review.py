"""`toolkit review`: keys in a real browser, what is refused, what a killed server has kept."""

from __future__ import annotations

import csv
import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import onnx_networks, small
from support.command_line import environment, run_cli
from support.result_files import row, write_image, write_table

import toolkit
from toolkit.core.errors import InputError, MachineError
from toolkit.inference.saved_results import SavedResults
from toolkit.reviewing.candidates import Candidates
from toolkit.reviewing.corrections import Corrections, read_corrections
from toolkit.reviewing.selection import select
from toolkit.reviewing.server import ReviewServer, open_review


def make_table(folder: Path, n: int = 6) -> Path:
    rows = []
    for i in range(n):
        write_image(folder / f"photos/{i}.png", (30 * i % 256, 100, 50))
        rows.append(row(f"photos/{i}.png", ("Cat", "Dog")[i % 2], 0.6 + i / (3 * n)))
    write_image(folder / "photos/u.png")
    (folder / "secret.png").write_bytes((folder / "photos/u.png").read_bytes())
    rows += [row("photos/u.png", "", 0.4, "unsure"), row("photos/gone.png", "", None, "error", error="empty")]
    return write_table(folder / "labels.csv", rows)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReviewServer]:
    """A review of eight rows, running."""
    results = SavedResults(make_table(tmp_path), tmp_path)
    made = ReviewServer(open_review(results, select(results, 100), tmp_path / "corrections.csv"))
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.finished.set()
    thread.join(10)
    assert not thread.is_alive()


def ask(
    server: ReviewServer, method: str, place: str, content: object = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """One request as a browser with this page open would make it; `headers` replace its own ("" leaves one out)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    sent = {"Host": server.hosts[0]}
    if method == "POST":
        sent |= {"Origin": f"http://{server.hosts[0]}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, place, skip_host=True)
    body = json.dumps(content).encode() if content is not None else b""
    for name, value in {**sent, "Content-Length": str(len(body))}.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers
    connection.close()
    return found


def test_what_is_served(server: ReviewServer) -> None:
    start = f"/{server.token}/"
    status, page, headers = ask(server, "GET", start)
    assert status == 200
    assert b"photos/u.png" in page
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    for place in ("thumbnail/0", "image/3"):
        status, image, headers = ask(server, "GET", start + place)
        assert (status, headers["Content-Type"], image[:4]) == (200, "image/webp", b"RIFF")
    assert ask(server, "POST", start + "decide", {"image": 0, "label": "Dog"})[0] == 200
    assert server.review.corrections.label("photos/u.png") == "Dog"
    assert ask(server, "POST", start + "take-back", {"image": 0})[0] == 200
    assert server.review.corrections.label("photos/u.png") is None


@pytest.mark.parametrize(
    ("method", "place", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/wrong/", {}),
        ("GET", "/wrong/image/0", {}),
        ("POST", "/wrong/decide", {}),
        ("GET", "/TOKEN/", {"Host": "evil.example"}),
        ("GET", "/TOKEN/", {"Host": ""}),
        ("GET", "/TOKEN/", {"Sec_Fetch_Site": "cross-site"}),
        ("GET", "/TOKEN/image/0", {"Sec_Fetch_Site": "cross-site"}),
        ("POST", "/TOKEN/decide", {"Origin": "http://evil.example"}),
        ("POST", "/TOKEN/decide", {"Origin": "null"}),
        ("POST", "/TOKEN/decide", {"Origin": ""}),
        ("POST", "/TOKEN/finish", {"Origin": "http://evil.example"}),
    ],
)
def test_foreign_requests_are_refused(server: ReviewServer, method: str, place: str, headers: dict[str, str]) -> None:
    content = {"image": 0, "label": "Dog"} if method == "POST" else None
    assert ask(server, method, place.replace("TOKEN", server.token), content, **headers)[0] == 403
    assert len(server.review.corrections) == 0
    assert not server.finished.is_set()


@pytest.mark.parametrize(
    "place",
    ["image/8", "image/-1", "image/x", "image/", "image/0/..", "image/../secret.png", "image/..%2fsecret.png",
     "secret.png", "../secret.png", "image/%C2%B2", "thumbnail//etc/passwd", "photos/0.png", "image/7"],
)  # fmt: skip
def test_only_images_of_the_table_are_served(server: ReviewServer, place: str) -> None:
    assert ask(server, "GET", f"/{server.token}/{place}")[0] == 404


@pytest.mark.parametrize(
    "content",
    [None, [], {}, {"image": 0}, {"image": "0", "label": "Dog"}, {"image": True, "label": "Dog"},
     {"image": 99, "label": "Dog"}, {"image": 0, "label": 3}, {"image": 0, "label": "a\nb"},
     {"image": 0, "label": "x" * 201}, {"image": 0, "label": "x" * 5000}],
)  # fmt: skip
def test_senseless_decisions_are_refused(server: ReviewServer, content: object) -> None:
    assert ask(server, "POST", f"/{server.token}/decide", content)[0] == 400
    assert len(server.review.corrections) == 0


@pytest.mark.parametrize(
    "request_line",
    [
        "GET http://[/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "POST /{token}/decide HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: \u00b2\r\n\r\n",
        "POST /{token}/decide HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 1" + "0" * 5000
        + "\r\n\r\n",
    ],
)  # fmt: skip
def test_odd_requests_and_closed_connections_are_no_news(
    server: ReviewServer, request_line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = request_line.format(host=server.hosts[0], token=server.token).encode("latin-1")
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.sendall(text)
        assert client.recv(100).startswith(b"HTTP/1.0 400 ")
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed with a reset
        client.sendall(f"GET /{server.token}/ HTTP/1.1\r\nHost: {server.hosts[0]}\r\n\r\n".encode())
    assert ask(server, "GET", f"/{server.token}/")[0] == 200
    assert capfd.readouterr().err == ""


def test_keys_in_a_browser(server: ReviewServer, browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str, until: int) -> None:
        ActionChains(browser).send_keys(key).perform()
        wait(browser, lambda: len(server.review.corrections) == until)

    browser.get_log("browser")
    browser.get(server.address)
    assert current(browser) == "photos/u.png"  # the unsure one, then the least likely
    wait(browser, lambda: browser.execute_script("return document.getElementById('large').naturalWidth") == 64)
    press("2", 1)
    wait(browser, lambda: current(browser) == "photos/0.png")
    press(Keys.ENTER, 2)
    wait(browser, lambda: current(browser) == "photos/1.png")
    press("x", 3)
    wait(browser, lambda: current(browser) == "photos/2.png")
    field = browser.find_element("id", "other-label")
    field.send_keys("Bird" + Keys.ENTER)
    wait(browser, lambda: len(server.review.corrections) == 4)
    wait(browser, lambda: current(browser) == "photos/3.png")
    ActionChains(browser).send_keys(Keys.ARROW_LEFT).perform()
    press("u", 3)
    wait(browser, lambda: browser.find_element("id", "n-decided").text == "3 decided")
    assert browser.get_log("browser") == []
    found = {c.file_name: (c.label, c.was) for c in read_corrections(tmp_path / "corrections.csv")}
    assert found == {"photos/u.png": ("Dog", ""), "photos/0.png": ("Cat", "Cat"), "photos/1.png": ("", "Dog")}

    browser.refresh()  # what is decided is known to a new page
    assert browser.find_element("id", "n-decided").text == "3 decided"
    assert current(browser) == "photos/2.png"
    browser.find_element("id", "finish").click()
    wait(browser, server.finished.is_set)
    wait(browser, lambda: "3 decisions are saved" in browser.find_element("id", "problem").text)


def test_enter_accepts_the_candidate_of_an_unsure_image(tmp_path: Path, browser: Any) -> None:
    """One stands in the table, one the model says; a model with another probability for the image says nothing."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    names = ("Cat", "Dog", "Fox")
    model = onnx_networks.write_mean_network(tmp_path / "m.onnx", onnx_networks.contract(names))
    image = write_image(tmp_path / "a.png", (90, 30, 60))
    (answer,) = toolkit.load(model).predict(image)
    assert answer.label is not None
    table = write_table(tmp_path / "labels.csv", [row("a.png", "", answer.confidence, "unsure")])
    other = write_table(tmp_path / "other.csv", [row("a.png", "", answer.confidence / 2, "unsure")])
    (foreign,) = SavedResults(other)
    assert Candidates(model).label(image, foreign) == ""
    assert Candidates(tmp_path / "none").label(image, foreign) == ""
    results = SavedResults(table, tmp_path)
    review = open_review(results, select(results, 9), tmp_path / "c.csv", names, Candidates(model))
    made = ReviewServer(review)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        browser.get(made.address)
        says = f"unsure: {answer.label} {100 * answer.confidence:.1f} %"
        wait(browser, lambda: browser.find_element("id", "current-says").text == says)
        marked = browser.find_element("css selector", "#label-buttons [aria-pressed=true]")
        assert marked.get_attribute("data-label") == answer.label
        ActionChains(browser).send_keys(Keys.ENTER).perform()
        wait(browser, lambda: review.corrections.label("a.png") == answer.label)
    finally:
        made.finished.set()
        thread.join(10)


def test_all_classes_can_be_chosen_and_many_have_no_button(tmp_path: Path, browser: Any) -> None:
    results = SavedResults(make_table(tmp_path), tmp_path)
    classes = [f"class {i:03}" for i in range(200)]
    review = open_review(results, select(results, 100), tmp_path / "corrections.csv", classes)
    made = ReviewServer(review)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        browser.get(made.address)
        offered = [
            button.get_attribute("data-label")
            for button in browser.find_elements("css selector", "#label-buttons button")
        ]
        assert offered == ["Cat", "Dog", *classes[:28]]  # those of the table are the most frequent
        assert len(browser.find_elements("css selector", "#known option")) == 202
        browser.find_element("id", "other-label").send_keys("class 199\n")
        wait(browser, lambda: review.corrections.label("photos/u.png") == "class 199")
    finally:
        made.finished.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ((), ["Cat", "Dog", "Fox"]),
        (("--model", "other.onnx"), ["Cat", "Dog", "Emu", "Owl"]),
        (("--labels", "classes.txt"), ["Cat", "Dog", "Fox", "Gnu"]),
    ],
)
def test_where_classes_come_from(tmp_path: Path, line: tuple[str, ...], more: list[str]) -> None:
    """The bundle here is that of the table, so its classes are offered; --model and --labels name others."""
    make_table(tmp_path)
    promise = onnx_networks.contract(("Cat", "Dog", "Fox"))
    folder = small.bundle(tmp_path / "model")
    fields = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(fields | {"contract": promise.to_dict()}))
    onnx_networks.write_mean_network(tmp_path / "other.onnx", onnx_networks.contract(("Emu", "Owl")))
    (tmp_path / "classes.txt").write_text("Gnu\nDog\n")
    done = run_cli("review", "labels.csv", "--to", "label-studio", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    offered = re.findall(r'Choice value="(\w+)"', (tmp_path / "label-studio.xml").read_text())
    assert offered == more


def test_a_bundle_of_other_classes_is_not_asked(tmp_path: Path) -> None:
    make_table(tmp_path)
    folder = small.bundle(tmp_path / "model")
    fields = json.loads((folder / "bundle.json").read_text())
    fields["contract"] = onnx_networks.contract(("Rose", "Tulip")).to_dict()
    (folder / "bundle.json").write_text(json.dumps(fields))
    assert run_cli("review", "labels.csv", "--to", "label-studio", cwd=tmp_path).returncode == 0
    assert "Rose" not in (tmp_path / "label-studio.xml").read_text()


def current(browser: Any) -> str:
    return str(browser.find_element("id", "current-path").text)


def wait(browser: Any, done: Any) -> None:
    until = time.monotonic() + 10
    while not done():
        assert time.monotonic() < until, browser.get_log("browser")
        time.sleep(0.02)


def test_a_killed_review_has_lost_nothing(tmp_path: Path) -> None:
    table = make_table(tmp_path, n=40)
    line = [sys.executable, "-m", "toolkit", "review", str(table), "--no-browser"]

    def start() -> tuple[subprocess.Popen[str], Any]:
        process = subprocess.Popen(line, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout as lines:
            address = lines.readline().strip()
        host, token = address.removeprefix("http://").strip("/").split("/")
        return process, (host, token)

    def decide(where: Any, image: int, label: str) -> int:
        host, token = where
        connection = http.client.HTTPConnection(host, timeout=10)
        headers = {"Origin": f"http://{host}", "Content-Type": "application/json"}
        with closing(connection):
            connection.request("POST", f"/{token}/decide", json.dumps({"image": image, "label": label}), headers)
            return connection.getresponse().status

    process, where = start()
    other = run_cli("review", table, "--no-browser", cwd=tmp_path)
    assert other.returncode == 7
    answered = 0
    killer = threading.Timer(0.5, process.kill)
    killer.start()
    try:
        while decide(where, answered % 41, "Dog") == 200:
            answered += 1
    except (OSError, http.client.HTTPException):
        pass
    assert process.wait() == -signal.SIGKILL
    assert answered > 0
    kept = read_corrections(tmp_path / "corrections.csv")
    assert len(kept) in (min(answered, 41), min(answered + 1, 41))

    process, where = start()  # the next review goes on from there
    assert decide(where, 40, "Bird") == 200
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    assert len(read_corrections(tmp_path / "corrections.csv")) in (len(kept), len(kept) + 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_background_job_ends_with_a_signal(tmp_path: Path, number: int, code: int) -> None:
    """A shell starts its background jobs with Ctrl-C switched off; a pipe gets the address at once."""
    make_table(tmp_path)
    line = ["sh", "-c", 'trap "" INT; exec "$0" -m toolkit review labels.csv', sys.executable]
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(number)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == code
    assert said == "no image decided; corrections.csv was not written\n"


def test_corrections_are_ours_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text("file_name,label\r\na.png,Cat\r\n")
    with pytest.raises(InputError, match="expected corrections with the columns"):
        Corrections(path)
    path.unlink()
    corrections = Corrections(path)
    corrections.decide('a,"b"\n.png', "Häuschen 고양이", "")
    assert Corrections(path).label('a,"b"\n.png') == "Häuschen 고양이"
    with path.open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["file_name", "label", "was", "decided"]


def test_a_file_that_became_another_one_is_said_on_the_page(server: ReviewServer, tmp_path: Path) -> None:
    (tmp_path / "corrections.csv").write_text("mine\n")
    for method, place, content in (("POST", "decide", {"image": 0, "label": "Dog"}), ("GET", "", None)):
        found = ask(server, method, f"/{server.token}/{place}", content)
        assert found[0] == 409
        assert b"expected corrections with the columns" in found[1]
    assert (tmp_path / "corrections.csv").read_text() == "mine\n"
    (tmp_path / "corrections.csv").unlink()
    assert ask(server, "POST", f"/{server.token}/decide", {"image": 0, "label": "Dog"})[0] == 200


def test_a_taken_port_is_named(server: ReviewServer) -> None:
    with pytest.raises(MachineError, match=f"--port {server.server_port}"):
        ReviewServer(server.review, server.server_port)
