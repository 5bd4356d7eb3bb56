"""A bucket on moto's S3 server, on the loopback address, with the environment that leads to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from toolkit.data.remote import fetch

BUCKET = "photos"
SECRET = "n0t-t0-be-seen"

_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


def use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Make `address` the S3 of this process and of those that it starts."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fetch.forget()


@contextmanager
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket; gives boto3's client."""
    import boto3

    command = [sys.executable, "-c", _SERVER]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with server:
        assert server.stdout is not None
        assert server.stdin is not None
        use(monkeypatch, server.stdout.readline().decode().strip())
        client = boto3.client("s3")
        try:
            client.create_bucket(Bucket=BUCKET)
            yield client
        finally:
            client.close()
            server.stdin.close()
            fetch.forget()


def put(client: Any, objects: Mapping[str, bytes]) -> None:
    """Put objects into the bucket."""
    for key, data in objects.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=data)
