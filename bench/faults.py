"""How long the service takes to recover from each fault: the last report at the PACS, after the fault's end.

Real processes, with an analyser that takes no time: what is measured is waiting and taking over. "None" is
how long the same two studies take without a fault. What is over in a moment counts from then on. On SQLite,
and for the network on PostgreSQL; what this machine does not permit is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from statistics import median

import pytest

from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.faults import LASTING, MOMENTS, OF_CLOCK, OF_DISK, OF_WORKERS, Fault, lost, suffer
from tests.forks import Forks
from tests.hospital import Hospital
from tests.network import SilentNetwork
from tests.outages import small_disk
from tests.settable_clock import settable_clock

from .scale import site
from .table import Rows

LASTS_S = (2.0, 20.0)
REPEATS = 3


def run() -> Rows:
    """Medians; one study before each fault and one while it lasts."""
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as name:
        folder = Path(name)
        forks = Forks(settable_clock(folder))
        moments = {"none": _none} | MOMENTS | OF_WORKERS | (OF_CLOCK if forks.clock else {})
        try:
            rows = _on_disk(folder / "moments", forks, moments, 0.0)
            for lasts_s in LASTS_S:
                rows += _on_disk(folder / f"disk-{lasts_s:g}", forks, LASTING | OF_DISK, lasts_s)
                with suppress(pytest.skip.Exception):
                    rows += _on_network(folder / f"network-{lasts_s:g}", forks, lasts_s)
        finally:
            forks.close()
    return rows


def _none(_: Hospital) -> AbstractContextManager[None]:
    return nullcontext()


def _on_disk(folder: Path, forks: Forks, faults: Mapping[str, Fault], lasts_s: float) -> Rows:
    """Spool and database are on a small disk of their own; without that right, what takes it is left out."""
    folder.mkdir()
    with small_disk(folder, size="100m") as disk:
        database = Database(f"sqlite:///{disk / 'ich.sqlite'}")
        migrate.upgrade(database)
        hospital = Hospital(folder, disk, database, forks)
        possible = {name: fault for name, fault in faults.items() if name not in OF_DISK or disk.is_mount()}
        with _open(hospital):
            rows = [_row(hospital, name, fault, lasts_s) for name, fault in possible.items()]
        hospital.check()
        database.close()
    return rows


def _on_network(folder: Path, forks: Forks, lasts_s: float) -> Rows:
    """Packets to PostgreSQL vanish."""
    folder.mkdir()
    with site() as here:
        server = Path(str(here.database.url.query["host"])) / ".s.PGSQL.5432"
        with SilentNetwork(server).serve() as network:
            url = here.database.url.set(host=network.host, port=network.port, query={})
            hospital = Hospital(folder, folder, here.database, forks)
            with _open(hospital, url.render_as_string(hide_password=False)):
                row = _row(hospital, "network to the database silent", lambda _: network.silent(), lasts_s)
            hospital.check()
    return [row]


@contextmanager
def _open(hospital: Hospital, database_url: str = "") -> Iterator[None]:
    """With the waits of the configuration as a site has them."""
    with hospital.peers():
        config = hospital.configure(
            worker={"poll_s": 0.2, "heartbeat_s": 2.0, "dead_after_s": 10.0, "max_attempts": 5},
            delivery={"backoff_s": 2.0, "backoff_max_s": 600.0, "commitment_timeout_s": 300.0},
            database={"url": database_url} if database_url else {},
        )
        with hospital.service(config, worker={"loses_device": str(lost(hospital))}, hurried=False):
            yield


def _row(hospital: Hospital, name: str, fault: Fault, lasts_s: float) -> dict[str, object]:
    took = [suffer(hospital, fault, lasts_s=lasts_s) for _ in range(REPEATS)]
    return {
        "fault": name,
        "lasts_s": lasts_s,
        "recovered_after_s": round(median(took), 1),
        "range": f"{min(took):.1f} to {max(took):.1f}",
    }
