"""URLs: shown without anything secret, recognised also where a Path has eaten a slash."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolkit.core.errors import UsageError
from toolkit.data.remote.stores import is_plain
from toolkit.data.remote.urls import bucket_and_key, is_remote, mark, remote_url, shown, shown_input

SECRET = st.text("abcXYZ019+/=-_.~ :@#?&ü", min_size=6, max_size=20).map(lambda text: f"s3cr3t{quote(text, safe='')}")
SIGNS = st.sampled_from(
    (
        "X-Amz-Signature",
        "X-Amz-Credential",
        "x-goog-signature",
        "sig",
        "token",
        "access_token",
        "AWSAccessKeyId",
        "api_key",
    )
)
SCHEMES = st.sampled_from(("s3", "gs", "az", "http", "https"))
NAME = st.text("abcüß 日-_./%20+", min_size=1, max_size=20).map(lambda text: text.strip("/ ") or "x")


@given(SCHEMES, NAME, SECRET, SECRET, SIGNS, SECRET, st.booleans())
@example("https", "a", "s3cr3t", "s3cr3t%3A", "sig", "s3cr3t", True)
def test_no_secret_is_shown(
    scheme: str, place: str, user: str, password: str, name: str, value: str, fragment: bool
) -> None:
    query = f"?id=5&{name}={value}&se=1" if scheme in ("http", "https") else ""
    url = f"{scheme}://{user}:{password}@host.example/{place}{query}" + (f"#{value}" if query and fragment else "")
    text = shown(url)
    assert "s3cr3t" not in text
    assert shown(text) == text
    assert text.startswith(f"{scheme}://host.example/{place}")
    assert text.endswith("?id=5") or not query
    assert shown_input(url) == text


@given(st.text(max_size=60))
def test_anything_can_be_shown(text: str) -> None:
    for scheme in ("http", "s3"):
        shown(f"{scheme}://{text}").encode()


def test_a_path_that_lost_a_slash_is_a_url() -> None:
    for url in ("s3://photos/Cat/1.jpg", "gs://b/a b", "https://example.org/1.jpg?id=5"):
        assert remote_url(Path(url)) == remote_url(url) == url
        assert is_remote(url)
    for path in ("photos/s3:/x", "/s3://x", "s3", "s3:", "C:/photos", "ftp://x/y", "s3:///x"):
        assert remote_url(path) is None


def test_a_folder_called_like_a_scheme_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "photos").mkdir(parents=True)
    assert remote_url(Path("s3:/photos")) is None


def test_buckets_and_keys() -> None:
    assert bucket_and_key("gs://photos") == ("gs", "photos", "")
    assert bucket_and_key("az://photos//a?b#c%20") == ("az", "photos", "/a?b#c%20")
    for url in ("s3:///x", "s3://me:word@photos/x"):
        with pytest.raises(UsageError) as error:
            bucket_and_key(url)
        assert "word" not in f"{error.value.message}{error.value.hint}"


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_marks_tell_etags_apart_and_fit_into_a_column(one: str, other: str) -> None:
    assert -(1 << 62) - 1 <= mark(one) <= 0
    if one.strip('"').removeprefix("W/").strip('"') != other.strip('"').removeprefix("W/").strip('"'):
        assert mark(one) != mark(other)


def test_names_that_one_library_cannot_say() -> None:
    assert is_plain("a/b c/ü%20.jpg")
    assert not any(map(is_plain, ("a//b", "/a", "a/", "./a", "a/../b", "a\nb")))
