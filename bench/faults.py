"""How long the service takes to recover from each fault: the last report at the PACS, after the fault's end.

Real processes on SQLite, with an analyser that takes no time: what is measured is waiting and taking over.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.faults import OF_DISK, PLAIN, suffer
from tests.forks import Forks
from tests.hospital import Hospital
from tests.outages import small_disk

from .table import Rows

LASTS_S = (2.0, 20.0)
REPEATS = 3


def run() -> Rows:
    """Medians; one study before each fault and one while it lasts. Of a process that is killed, lasts 0 s."""
    forks = Forks()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-faults-") as name:
            return [row for lasts_s in LASTS_S for row in _rows(Path(name) / f"{lasts_s:g}", lasts_s, forks)]
    finally:
        forks.close()


def _rows(folder: Path, lasts_s: float, forks: Forks) -> Rows:
    folder.mkdir()
    with small_disk(folder, size="100m") as disk:
        database = Database(f"sqlite:///{disk / 'ich.sqlite'}")
        migrate.upgrade(database)
        hospital = Hospital(folder, disk, database, forks)
        faults = PLAIN | (OF_DISK if disk.is_mount() else {})
        # the waits of the configuration as a site has them
        config = hospital.configure(
            worker={"poll_s": 0.2, "heartbeat_s": 2.0, "dead_after_s": 10.0, "max_attempts": 5},
            delivery={"backoff_s": 2.0, "backoff_max_s": 600.0, "commitment_timeout_s": 300.0},
        )
        with hospital.peers(), hospital.service(config, hurried=False):
            rows = [_row(hospital, name, lasts_s) for name in faults]
        hospital.check()
        database.close()
    return rows


def _row(hospital: Hospital, name: str, lasts_s: float) -> dict[str, object]:
    fault = (PLAIN | OF_DISK)[name]
    took = [suffer(hospital, fault, lasts_s=lasts_s) for _ in range(REPEATS)]
    return {
        "fault": name,
        "lasts_s": lasts_s,
        "recovered_after_s": round(median(took), 1),
        "range": f"{min(took):.1f} to {max(took):.1f}",
    }
