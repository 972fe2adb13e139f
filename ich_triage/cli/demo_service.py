"""A service of its own on this machine: what the demo and the benchmarks run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..dicom import scu
from ..errors import IchTriageError
from ..settings import Settings, load
from ..store import workers
from ..store.database import Database
from .demo_pacs import StandInPacs, free_port
from .options import console

_START_LIMIT_S = 120.0

_CONFIG = """\
[dicom]
host = "127.0.0.1"
port = {port}
[database]
url = "sqlite:///{folder}/ich.sqlite"
[spool]
path = "{folder}/spool"
reserve_bytes = 100000000
[web]
port = {web_port}
[log]
level = "info"
[[destinations]]
name = "pacs"
host = "127.0.0.1"
port = {pacs_port}
ae_title = "PACS"
outputs = ["sr", "capture"]
send = "all"
commitment = {commitment}
"""


def write_config(folder: Path, port: int, pacs: StandInPacs) -> Path:
    """A configuration that keeps everything in `folder`, listens on `port` and reports to `pacs`."""
    config = folder / "config.toml"
    values = {"folder": folder, "port": port, "web_port": free_port(), "pacs_port": pacs.port}
    config.write_text(_CONFIG.format(**values, commitment=str(pacs.commitment).lower()))
    return config


@contextmanager
def running(folder: Path, config: Path, peer: scu.Peer) -> Iterator[Database]:
    """`ich-triage serve` in its own process, its log in `folder`; gives its database once it is up.

    Up is: the listener, `peer`, answers and a worker has loaded its model, so that what follows times
    studies and not the start. Raises IchTriageError when it does not start.
    """
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ich_triage", "--config", str(config), "serve"], stdout=log, stderr=log
        )
    settings = load(config)
    database = Database(settings.database.url)
    try:
        _wait_until_up(peer, settings, database)
        yield database
    finally:
        process.terminate()
        process.wait()
        database.close()


def _wait_until_up(peer: scu.Peer, settings: Settings, database: Database) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    with console.status("starting the service and loading the model"):
        while not (_answers(peer) and _has_worker(settings, database)):
            if time.monotonic() > deadline:
                raise IchTriageError(
                    f"the service did not start; see {settings.spool.path.parent}/service.log"
                )
            time.sleep(0.2)


def _answers(peer: scu.Peer) -> bool:
    try:
        scu.echo(peer, calling="DEMO", timeout_s=5.0)
    except IchTriageError:
        return False
    return True


def _has_worker(settings: Settings, database: Database) -> bool:
    """The listener answers only after the tables are there."""
    with database.read() as session:
        return bool(workers.living(session, dead_after_s=settings.worker.dead_after_s))
