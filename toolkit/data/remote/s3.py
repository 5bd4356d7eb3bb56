"""Buckets of S3: read with obstore, and listed with boto3.

boto3 knows the usual places of credentials, and every name that an object can have.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any

from toolkit.core.errors import InputError
from toolkit.data.remote.stores import (
    CONNECT_S,
    PIECE_BYTES,
    Body,
    Bucket,
    Entry,
    FetchError,
    Store,
    is_plain,
    of_status,
    one_ahead,
)


class S3Bucket(Bucket):
    """A bucket of S3, or of a server that speaks like it."""

    def __init__(self, name: str, store: Any, client: Any, bucket: str) -> None:
        super().__init__(name, store)
        self._client = client
        self._bucket = bucket

    def listed(self, prefix: str) -> Iterator[Entry]:
        with self._listing(prefix), _boto_errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in one_ahead(pages.paginate(Bucket=self._bucket, Prefix=prefix)):
                for item in page.get("Contents", ()):
                    yield Entry(item["Key"], item["Size"], item.get("ETag", ""))

    def folders(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2")
        with self._listing(prefix), _boto_errors():
            return [
                item["Prefix"].rstrip("/").rpartition("/")[2]
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
                for item in page.get("CommonPrefixes", ())
            ]

    def head(self, key: str) -> Entry:
        with _boto_errors():
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        return Entry(key, found["ContentLength"], found.get("ETag", ""))

    def get(self, key: str, limit_s: float) -> Body:
        if is_plain(key):
            return super().get(key, limit_s)
        with _boto_errors():
            found = self._client.get_object(Bucket=self._bucket, Key=key)
        return Body(found["ContentLength"], found.get("ETag", ""), self._boto_pieces(found["Body"]))

    def close(self) -> None:
        super().close()
        self._client.close()

    def _boto_pieces(self, body: Any) -> Generator[bytes, None, None]:
        with closing(body), _boto_errors():
            yield from body.iter_chunks(PIECE_BYTES)


@contextmanager
def _boto_errors() -> Iterator[None]:
    """Errors of botocore -> ours."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        raise of_status(int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))) from None
    except HTTPClientError:
        raise FetchError("the connection broke", again=True) from None
    except BotoCoreError as error:
        raise FetchError(type(error).__name__, again=False) from None


def _session() -> Any:
    """A session that reads times quickly: botocore's own way takes two thirds of the time of a listing."""
    from botocore.session import get_session
    from botocore.utils import parse_timestamp

    def time_of(text: Any) -> datetime:
        if isinstance(text, str) and "T" in text:
            with suppress(ValueError):
                return datetime.fromisoformat(text)
        found: datetime = parse_timestamp(text)  # a number of seconds, or another notation
        return found

    session = get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=time_of)
    return session


def open_s3(name: str, bucket: str, options: dict[str, Any], alone: dict[str, Any]) -> Store:
    """With the credentials, the endpoint and the region that boto3 finds; public buckets need no credentials."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import BotoCoreError, ClientError
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    try:
        session = boto3.Session(botocore_session=_session())
        credentials = session.get_credentials()
        public = credentials is None
        setting = Config(
            signature_version=UNSIGNED if public else None,
            retries={"mode": "standard", "total_max_attempts": 5},
            connect_timeout=CONNECT_S,
            read_timeout=30,
        )
        client = session.client("s3", config=setting, region_name=session.region_name or "us-east-1")
        endpoint = client.meta.endpoint_url
        region = client.meta.region_name
    except (BotoCoreError, ValueError) as error:
        raise InputError(
            f"{name}: cannot be opened with what the environment says ({type(error).__name__})",
            hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; see docs/object-storage.md",
        ) from None
    amazon = ".amazonaws.com" in endpoint
    if amazon:
        with suppress(BotoCoreError, ClientError):  # the listing says what is wrong, if anything is
            region = client.head_bucket(Bucket=bucket).get("BucketRegion", region)
    signing: dict[str, Any] = {"skip_signature": True}
    if isinstance(credentials, RefreshableCredentials):
        signing = {"credential_provider": Boto3CredentialProvider(session)}
    elif credentials is not None:  # these stay as they are: to ask for them again for every object takes time
        names = {"access_key_id": credentials.access_key, "secret_access_key": credentials.secret_key}
        signing = names | ({"token": credentials.token} if credentials.token else {})
    store = S3Store(
        bucket,
        region=region,
        client_options={**options, "allow_http": endpoint.startswith("http://")},
        retry_config=alone,
        **({} if amazon else {"endpoint": endpoint}),
        **signing,
    )
    return S3Bucket(name, store, client, bucket)
