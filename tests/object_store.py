"""A real S3 server in a process of its own: rclone's, over a folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tests.files import files_below

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"
BUCKET = "spool"
_START_LIMIT_S = 30.0
#: what rclone calls the file of an object that is on its way
_UPLOAD = ".rclone_temp_put_"


class ObjectStore:
    """One server and its bucket, which can be stopped and started again."""

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", within: Sequence[str] = ()) -> None:
        """`within`: the command that runs it elsewhere, where it has the address `host`."""
        self._host, self._within = host, list(within)
        self._root = folder / "store"
        #: the bucket, whose objects are files here
        self.bucket = self._root / BUCKET
        self.bucket.mkdir(parents=True)
        #: as the AWS command line reads it
        self.credentials = folder / "credentials"
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.start()

    def settings(self, folder: Path, *, prefix: str = "") -> dict[str, Any]:
        """`[spool]` of a host whose own disk is `folder`."""
        return {
            "path": folder / "local",
            "url": f"s3://{BUCKET}/{prefix}",
            "endpoint": f"http://{self._host}:{self._port}",
            "region": "us-east-1",
            "credentials_file": self.credentials,
            "reserve_bytes": 0,
        }

    def start(self) -> None:
        """Until it answers."""
        self._process = subprocess.Popen(
            [
                *self._within,
                _program(),
                "serve",
                "s3",
                "--addr",
                f"{self._host}:{self._port}",
                str(self._root),
            ],
            env=os.environ
            | {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"', "RCLONE_CONFIG": "/dev/null"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = monotonic() + _START_LIMIT_S
        while not self._within and not self._answers():
            assert self._process.poll() is None and monotonic() < deadline, "rclone does not start"
            sleep(0.02)

    def stop(self) -> None:
        """Nobody answers any more."""
        self._process.kill()
        self._process.wait()

    def objects(self) -> list[str]:
        """Every key in the bucket; an upload that was cut off has left a file of rclone's, but no object."""
        return [path.as_posix() for path in files_below(self.bucket) if not path.name.startswith(_UPLOAD)]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A running store, its data in `folder`."""
    store = ObjectStore(folder)
    try:
        yield store
    finally:
        store.stop()


def _program() -> str:
    """As the wheel has installed it."""
    places = [Path(sysconfig.get_path("scripts")), *(Path(each) / "bin" for each in sys.path)]
    return next(str(place / "rclone") for place in places if (place / "rclone").is_file())
