"""Results of shards that lie in object storage -> files of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from toolkit.core.errors import InputError, ToolkitError
from toolkit.data.remote.urls import remote_url
from toolkit.inference.distributed.shard import record_path


@contextmanager
def local_parts(parts: Iterable[Path]) -> Iterator[list[Path]]:
    """`parts` with those behind URLs replaced by copies, each with its record, as long as the context lasts.

    The copies lie in folders that are called like the places that they come from, so that messages say which is which.

    Raises:
        InputError: a part or its record cannot be read.
    """
    parts = list(parts)
    urls = [remote_url(part) for part in parts]
    if not any(urls):
        yield parts
        return
    from toolkit.data.remote.fetch import download

    with tempfile.TemporaryDirectory(prefix="toolkit-merge-") as folder:
        there: list[Path] = []
        for part, url in zip(parts, urls, strict=True):
            if url is None:
                there.append(part)
                continue
            place = PurePosixPath(url.partition("://")[2])
            if ".." in place.parts:
                raise InputError(f"{place}: expected a name without '..'")
            target = Path(folder, *place.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            download(url, target)
            record = record_path(target)
            download(f"{url.rpartition('/')[0]}/{record.name}", record)
            there.append(target)
        try:
            yield there
        except ToolkitError as error:
            error.message = error.message.replace(f"{folder}/", "")
            error.hint = error.hint.replace(f"{folder}/", "")
            raise
