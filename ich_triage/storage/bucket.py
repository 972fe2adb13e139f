"""A spool in an S3-compatible object store.

An object is never overwritten by another one: received objects have a name of their own for each arrival, and
what is made here is named by what it is made of. So neither renaming nor conditional writes are needed, which
not every store has.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from ..errors import SettingsError, SpoolAwayError
from ..settings import Spool
from .entry import Entry
from .scratch import Scratch

#: requests at once, of one process
PARALLEL = 16
#: how long one request may take, with what is tried again of it: senders wait for it, s
_CONNECT_S, _ANSWER_S, _RETRIES, _IN_ALL_S = 3, 20, 3, 10
#: how long credentials of a file are used before it is read again
_FRESH = timedelta(minutes=5)


class Bucket:
    """See `Files`. What is read is first copied to a scratch folder below `[spool] path`."""

    def __init__(self, settings: Spool) -> None:
        """Opens no connection. Raises SettingsError."""
        self._folder = settings.path.absolute() / "scratch"
        self._store = _store(settings)
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="bucket")

    @cached_property
    def _scratch(self) -> Scratch:
        return Scratch(self._folder)

    def local(self, paths: Sequence[str]) -> list[Path]:
        """See `Files`; fetched in parallel."""
        list(self.each(self._fetch, [path for path in paths if not self._scratch.has(path)]))
        return [self._scratch.place(path) for path in paths]

    def release(self, paths: Sequence[str]) -> None:
        """See `Files`."""
        for path in paths:
            self._scratch.drop(path)

    def exists(self, path: str) -> bool:
        """See `Files`."""
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        """Bytes of an object, None where there is none. Raises SpoolAwayError."""
        try:
            with _told(path):
                # not HEAD, whose answer does not say whether the object is missing or the bucket; the body
                # is not read
                return int(obstore.get(self._store, path).meta["size"])
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes | Path) -> None:
        """See `Files`: the store has answered that it has it."""
        with _told(path):
            obstore.put(self._store, path, content)

    def copy(self, path: str, target: str) -> None:
        """Copy within the store. Raises FileNotFoundError, SpoolAwayError."""
        with _told(path):
            obstore.copy(self._store, path, target)

    def copy_out(self, path: str, target: Path) -> None:
        """See `Files`."""
        with _told(path):
            found = obstore.get(self._store, path)
            with target.open("wb") as file:
                file.writelines(found.stream())
            at = found.meta["last_modified"].timestamp()
        os.utime(target, (at, at))

    def delete(self, paths: Sequence[str]) -> None:
        """See `Files`."""
        for first in range(0, len(paths), 1000):  # as many as one request takes
            with _told("delete"):
                obstore.delete(self._store, list(paths[first : first + 1000]))

    def list(self, folder: str) -> Iterator[Entry]:
        """See `Files`."""
        with _told(folder):
            found = [each for batch in obstore.list(self._store, prefix=folder) for each in batch]
        for each in sorted(found, key=lambda meta: meta["path"]):
            yield Entry(path=each["path"], modified=each["last_modified"])

    def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders right below `folder`. Raises SpoolAwayError."""
        with _told(folder):
            found = obstore.list_with_delimiter(self._store, prefix=folder)["common_prefixes"]
        return [path.rpartition("/")[2] for path in found]

    def each(self, do: Callable[[Any], Any], what: Sequence[Any]) -> Iterator[Any]:
        """`do` for each of `what`, many at once; results in order."""
        return self._pool.map(do, what)

    def _fetch(self, path: str) -> None:
        try:
            with _told(path):
                self._scratch.put(path, map(bytes, obstore.get(self._store, path).stream()))
        except FileNotFoundError:
            return  # whoever opens the copy hears that


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Whatever fails, as an error of ours; one that says only that the object is not there stays as it is."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise SpoolAwayError("the bucket of [spool] url does not exist") from error
        raise FileNotFoundError(2, "not in the object store", path) from None
    except BaseError as error:
        raise SpoolAwayError(f"the object store of the spool {_why(str(error))}") from error


def _why(told: str) -> str:
    """In words; what the store itself says can name keys, and is not repeated."""
    if "NoSuchBucket" in told:
        return "has no bucket of the name in [spool] url"
    if any(code in told for code in ("403 Forbidden", "401 Unauthorized", "AccessDenied")):
        return "refuses our credentials, or what they may do"
    if "Server returned non-2xx" in told:
        return "answers with an error"
    return "does not answer"


def _store(settings: Spool) -> S3Store:
    where = urlsplit(settings.url)
    client: Any = {
        "allow_http": settings.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "timeout": timedelta(seconds=_ANSWER_S),
    }
    retry: Any = {
        "max_retries": _RETRIES,
        "retry_timeout": timedelta(seconds=_IN_ALL_S),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    if settings.ca_file:
        client["root_certificate"] = _read(settings.ca_file)
    more: dict[str, Any] = {"endpoint": settings.endpoint} if settings.endpoint else {}
    if settings.region:
        more["region"] = settings.region
    if settings.credentials_file:
        more["credential_provider"] = _Credentials(settings.credentials_file)
    return S3Store(
        where.netloc,
        prefix=where.path.strip("/") or None,
        client_options=client,
        retry_config=retry,
        **more,
    )


class _Credentials:
    """From a file as other S3 tools have it, read again now and then: it can be changed at any time."""

    def __init__(self, path: Path) -> None:
        """Raises SettingsError."""
        self._path = path
        self()

    def __call__(self) -> Any:
        parser = configparser.ConfigParser()
        try:
            parser.read_string(_read(self._path).decode())
            values = parser["default"]
            found = {
                "access_key_id": values["aws_access_key_id"],
                "secret_access_key": values["aws_secret_access_key"],
                "token": values.get("aws_session_token"),
            }
        except (configparser.Error, KeyError, UnicodeDecodeError):
            raise SettingsError(
                f"{self._path} needs a section [default] with aws_access_key_id and aws_secret_access_key"
            ) from None
        return found | {"expires_at": datetime.now(UTC) + _FRESH}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
