"""`toolkit view`: what is shown of a table, and the page in a real browser."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import onnx_networks
from support.command_line import Cli, run_cli
from support.result_files import row, write_image, write_table

import toolkit
from toolkit.cli import console
from toolkit.core.errors import InputError
from toolkit.inference.saved_results import SavedResults, SavedRow
from toolkit.reviewing.page import view
from toolkit.reviewing.selection import select

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def saved(path: str, label: str, confidence: float | None, status: str = "ok") -> SavedRow:
    return SavedRow(path=path, label=label, confidence=confidence, status=status, likelihood=confidence)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["ok", "unsure", "error"]), st.sampled_from("abc"), st.floats(0, 1)), max_size=60
    ),
    limit=st.integers(1, 40),
)
def test_selection_is_ordered_bounded_and_counts_everything(rows: list[tuple[str, str, float]], limit: int) -> None:
    table = [
        saved(str(i), label if status == "ok" else "", None if status == "error" else p, status)
        for i, (status, label, p) in enumerate(rows)
    ]
    chosen = select(table, limit)
    assert len(chosen.rows) == min(limit, len(table))
    assert len({found.path for found in chosen.rows}) == len(chosen.rows)
    assert chosen.n_rows == len(table) == sum(chosen.counts.values()) + chosen.n_unsure + chosen.n_errors
    order = [("unsure", "ok", "error").index(found.status) for found in chosen.rows]
    assert order == sorted(order)
    sure = [found.likelihood or 0.0 for found in chosen.rows if found.status == "ok"]
    assert sure == sorted(sure)


def test_each_label_and_the_doubtful_are_in_a_sample() -> None:
    table = [saved(f"{label}{i}", label, i / 1000) for label in "ab" for i in range(1000)]
    table += [saved(f"u{i}", "", i / 1000, "unsure") for i in range(300)] + [saved("rare", "c", 0.99)]
    chosen = select(table, 100)
    paths = [found.path for found in chosen.rows]
    assert paths[:50] == [f"u{i}" for i in range(50)]
    assert {"rare", "a0", "b0", "a999", "b999"} <= set(paths)


def test_likelihood_is_that_of_the_folder(tmp_path: Path) -> None:
    rows = [
        row("Cat/1.jpg", "Dog", 0.9, truth="Cat") | {"p:Cat": "0.08", "p:Dog": "0.9"},
        row("x.jpg", "Dog", 0.7) | {"p:Cat": "0.3", "p:Dog": "0.7"},
    ]
    results = SavedResults(write_table(tmp_path / "labels.csv", rows))
    assert [found.likelihood for found in results] == [0.08, 0.7]
    assert results.labels == ["Cat", "Dog"]


def test_an_unsure_row_names_its_candidate_where_the_table_does(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    rows = [
        row("1.png", "", 0.6, "unsure") | {"p:Cat": "0.4", "p:Dog": "0.6"},
        row("2.png", "Cat", 0.9) | {"p:Cat": "0.9", "p:Dog": "0.1"},
    ]
    table = write_table(tmp_path / "labels.csv", rows)
    assert [(found.label, found.candidate) for found in SavedResults(table)] == [("", "Dog"), ("Cat", "")]
    view(table, tmp_path / "page.html", root=tmp_path)
    text = (tmp_path / "page.html").read_text().partition('<script type="application/json" id="data">')[2]
    data = json.loads(text.partition("</script>")[0])
    assert [data["labels"][found[-1]] if found[-1] >= 0 else "" for found in data["rows"]] == ["Dog", ""]


def test_a_page_asks_the_model_for_what_the_table_does_not_say(tmp_path: Path, run: Cli) -> None:
    write_image(tmp_path / "photos" / "1.png")
    onnx_networks.write_mean_network(tmp_path / "m.onnx", onnx_networks.contract(("Cat", "Fox", "Owl")))
    (best,) = toolkit.load(tmp_path / "m.onnx").predict(tmp_path / "photos" / "1.png").best
    line = ("infer", "photos", "--model", "m.onnx", "--min-confidence", "1", "--out", "labels.csv")
    assert run(*line, "--html", "page.html").code == 0
    assert "unsure" in (tmp_path / "labels.csv").read_text()
    assert run("view", "labels.csv", "--model", "m.onnx").code == 0
    for page in ("page.html", "labels.html"):
        assert f'"labels":["{best}"]' in (tmp_path / page).read_text()
    assert run("view", "labels.csv").code == 0
    assert '"labels":[]' in (tmp_path / "labels.html").read_text()


@pytest.mark.parametrize("command", ["view", "review", "sort"])
def test_from_another_folder_root_is_named(command: str, tmp_path: Path, run: Cli) -> None:
    write_image(tmp_path / "trip" / "photos" / "1.png")
    rows = [row("photos/1.png", "Cat", 0.9), row("photos/gone.png", "", None, "error", error="empty")]
    write_table(tmp_path / "trip" / "labels.csv", rows)
    more = {"view": ["--out", "page.html"], "review": ["--no-browser"], "sort": ["--into", "sorted"]}[command]
    done = run(command, "trip/labels.csv", *more)
    assert done.code == 3, done.err
    assert "photos/1.png" in done.err
    assert f"next: --root {tmp_path / 'trip'}: the paths in the table start from there" in done.err
    assert not (tmp_path / "page.html").exists()
    (tmp_path / "trip" / "photos").rename(tmp_path / "moved")
    done = run(command, "trip/labels.csv", *more)
    assert "run this where toolkit infer ran, or say with --root from which folder the paths start" in done.err


def test_images_that_are_gone_are_named(tmp_path: Path, run: Cli) -> None:
    write_image(tmp_path / "1.png")
    write_table(tmp_path / "labels.csv", [row(f"{i}.png", "Cat", 0.9) for i in (1, 2, 3)])
    done = run("view", "labels.csv")
    assert done.code == 0
    assert "warning: 2 images are not there, such as 2.png; --root says from which folder" in done.err


def test_an_unfinished_run_is_called_so(tmp_path: Path, run: Cli) -> None:
    write_table(tmp_path / "labels.csv.partial", [row("1.png", "Cat", 0.9)])
    for name in ("labels.csv", "labels.csv.partial"):
        done = run("view", name)
        assert done.code == 3
        assert "a run that is not finished\n  next: run the same toolkit infer line again" in done.err


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page of twelve images, one unsure, one failed, one gone, with names that try to break out."""
    rows = []
    for i in range(10):
        name = f"photos/{i}.png" if i else f"photos/<b>&'\" {i}.png"
        write_image(tmp_path / name, (20 * i, 90, 200 - 10 * i))
        label = ("Cat", HOSTILE)[i % 2]
        rows.append(row(name, label, 0.5 + i / 20, truth="Cat"))
    write_image(tmp_path / "photos/unsure.png")
    rows += [
        row("photos/unsure.png", "", 0.31, "unsure"),
        row("photos/broken.png", "", None, "error", error="truncated: the PNG ends after 12 bytes"),
        row("photos/gone.png", "Cat", 0.97),
    ]
    write_table(tmp_path / "labels.csv", rows)
    view(tmp_path / "labels.csv", tmp_path / "page.html", root=tmp_path)
    return tmp_path / "page.html"


def cards(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('#cards .path')].map(path => path.textContent)"
    found: list[str] = browser.execute_script(script)
    return found


def choose(browser: Any, select_id: str, value: str) -> None:
    script = (
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(script, select_id, value)


def click(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def test_page_in_a_browser(page: Path, browser: Any) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith("data:")] == [browser.current_url]
    shown = cards(browser)
    assert len(shown) == 13
    assert (shown[0], shown[-1]) == ("photos/unsure.png", "photos/broken.png")
    images = browser.find_elements("css selector", "#cards img")
    assert len(images) == 11
    assert browser.execute_script("return [...document.images].every(i => !i.complete || i.naturalWidth === 64)")
    assert "truncated: the PNG ends" in browser.find_elements("css selector", "#cards .failed .tag")[0].text

    choose(browser, "filter-status", "2")
    assert cards(browser) == ["photos/broken.png"]
    choose(browser, "filter-status", "differs")
    assert len(cards(browser)) == 5
    choose(browser, "filter-status", "")
    choose(browser, "filter-label", HOSTILE)
    assert len(cards(browser)) == 5
    click(browser, "#filters button[type=reset]")
    for _ in range(50):
        if len(cards(browser)) == 13:
            break
        time.sleep(0.02)
    browser.find_element("id", "filter-from").clear()
    browser.find_element("id", "filter-from").send_keys("94")
    choose(browser, "order", "high")
    assert cards(browser) == ["photos/gone.png", "photos/9.png"]
    browser.find_element("id", "filter-path").send_keys("GONE")
    assert cards(browser) == ["photos/gone.png"]
    click(browser, "#copy")
    for _ in range(50):
        if "copied" in browser.find_element("id", "shown").text:
            break
        time.sleep(0.02)
    assert browser.find_element("id", "shown").text == "1 path copied"
    click(browser, "#counts button")
    assert browser.find_element("css selector", "#counts [aria-pressed=true]").text.startswith("</script>")


def test_a_large_table_is_sampled_and_says_so(tmp_path: Path, browser: Any) -> None:
    write_image(tmp_path / "photos" / "0.png")
    rows = [row(f"photos/{i}.png", ("Cat", "Dog", "Bird")[i % 3], (i % 1000) / 1000) for i in range(100_000)]
    write_table(tmp_path / "labels.csv", rows)
    found = view(tmp_path / "labels.csv", tmp_path / "page.html", root=tmp_path, images=500)
    assert (found.n_rows, found.n_shown) == (100_000, 500)
    browser.get((tmp_path / "page.html").as_uri())
    assert "500 of 100,000 files" in browser.find_element("id", "sampled").text
    assert [b.text for b in browser.find_elements("css selector", "#counts button")] == [
        "Bird\n33,333",
        "Cat\n33,334",
        "Dog\n33,333",
    ]
    assert (tmp_path / "page.html").stat().st_size < 200_000


def test_command_and_foreign_files(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    table = write_table(tmp_path / "labels.csv", [row("a.png", "Cat", 0.9)])
    for _ in range(2):  # the second run replaces the first one's page
        done = run_cli("view", table, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, f"{tmp_path / 'labels.html'}: 1 of 1 file shown\n")
    (tmp_path / "mine.html").write_text("<p>mine")
    with pytest.raises(InputError, match="toolkit did not write it"):
        view(table, tmp_path / "mine.html", root=tmp_path)
    assert (tmp_path / "mine.html").read_text() == "<p>mine"
    view(table, tmp_path / "mine.html", root=tmp_path, force=True)


def test_the_next_command_is_named_on_a_terminal_alone(
    tmp_path: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "photos" / "1.png")
    onnx_networks.write_mean_network(tmp_path / "m.onnx", onnx_networks.contract())
    lines = {
        ("infer", "photos", "--model", "m.onnx", "--out", "labels.csv"): "  next: toolkit view labels.csv\n",
        ("view", "labels.csv"): "  next: open labels.html\n",
    }
    for line, said in lines.items():
        assert "next:" not in run(*line).err
        monkeypatch.setattr(console, "on_terminal", lambda: True)
        assert run(*line).err.endswith(said)
        assert "next:" not in run(*line, "--quiet").err
        monkeypatch.setattr(console, "on_terminal", lambda: False)
