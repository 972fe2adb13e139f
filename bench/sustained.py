"""Studies per hour that the whole service sustains on this machine: scanners send, reports lie in the PACS.

Scanners, service and PACS share the cores. Scanners send whenever fewer than `UNDER_WAY` studies are under
way, so that the service decides the rate; each study has UIDs of its own. A study counts when its report is
in the PACS; what is reported in the first `WARM_S`, or after the scanners' end, does not.

    python -m bench.sustained [--minutes 10]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Lock
from time import monotonic, sleep

from sqlalchemy import func, select

from ich_triage.cli.demo_pacs import free_port, start_pacs
from ich_triage.cli.demo_service import running, write_config
from ich_triage.dicom import scu
from ich_triage.domain.states import OutputKind
from ich_triage.phantom.dicom import write_study
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.spec import draw
from ich_triage.store.database import Database
from ich_triage.store.tables import Delivery, Revision

from .table import Rows, show

SLICES, HEADS, SCANNERS, UNDER_WAY = 32, 2, 2, 8
WARM_S, LIMIT_S = 30.0, 300.0
_STORED = (Delivery.kind == OutputKind.SR, Delivery.sent_at.is_not(None))


@dataclass(frozen=True, kw_only=True)
class Report:
    """One study's way."""

    #: its last slice was received
    last_slice_at: datetime
    #: its report was stored in the PACS
    stored_at: datetime
    #: that report
    sop_instance_uid: str


class Scanners:
    """Send one study after the other, each of one of `heads`, until they are told to end."""

    def __init__(self, heads: list[Phantom], folder: Path, peer: scu.Peer, database: Database) -> None:
        self._folder, self._peer, self._database = folder, peer, database
        self._heads = cycle(heads)
        self._numbers, self._lock = count(1), Lock()
        self._over = Event()
        #: acknowledged whole
        self.sent = 0

    def run(self, seconds: float) -> None:
        """For so long. Raises CalledProcessError where a study was not acknowledged."""
        with ThreadPoolExecutor(SCANNERS) as pool:
            work = [pool.submit(self._scan) for _ in range(SCANNERS)]
            self._over.wait(seconds)
            self._over.set()
            for each in work:
                each.result()

    def _scan(self) -> None:
        while not self._over.is_set():
            if self.sent - reported(self._database) >= UNDER_WAY:
                self._over.wait(0.2)
                continue
            with self._lock:
                head, number = next(self._heads), next(self._numbers)
            self._send(head, self._folder / str(number))
            with self._lock:
                self.sent += 1

    def _send(self, head: Phantom, folder: Path) -> None:
        files = write_study(head, folder, fresh=True)
        command = ["storescu", "-q", "-aec", self._peer.ae_title, self._peer.host, str(self._peer.port)]
        subprocess.run([*command, *map(str, files)], check=True)
        shutil.rmtree(folder)


def reported(database: Database) -> int:
    """Studies whose report was stored in the PACS."""
    with database.read() as session:
        return session.scalars(select(func.count()).select_from(Delivery).where(*_STORED)).one()


def _reports(database: Database) -> list[Report]:
    query = select(Revision.last_slice_at, Delivery.sent_at, Delivery.sop_instance_uid)
    with database.read() as session:
        found = session.execute(query.join_from(Delivery, Revision).where(*_STORED)).tuples()
        return [
            Report(last_slice_at=last, stored_at=stored, sop_instance_uid=uid)
            for last, stored, uid in found
            if stored is not None
        ]


def run(*, minutes: float = 10.0) -> Rows:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="bench-sustained-") as name:
        folder = Path(name)
        heads = [generate(draw(seed, slices=SLICES)) for seed in range(1, HEADS + 1)]
        peer = scu.Peer(host="127.0.0.1", port=free_port(), ae_title="ICH_TRIAGE")
        with start_pacs(folder / "pacs", peer.port) as pacs:
            config = write_config(folder, peer.port, pacs)
            with running(folder, config, peer) as database:
                scanners = Scanners(heads, folder, peer, database)
                scanners.run(minutes * 60)
                ended = datetime.now(UTC)
                _wait(lambda: reported(database) >= scanners.sent)
                found = _reports(database)
                assert all(pacs.holds(each.sop_instance_uid) for each in found)
    return [_row(found, ended)]


def _wait(ready: Callable[[], bool]) -> None:
    deadline = monotonic() + LIMIT_S
    while not ready():
        if monotonic() > deadline:
            raise RuntimeError("the benchmark waited in vain; see the service's log")
        sleep(0.1)


def _row(found: list[Report], ended: datetime) -> dict[str, object]:
    began = min(each.stored_at for each in found) + timedelta(seconds=WARM_S)
    counted = [each for each in found if began <= each.stored_at <= ended]
    waited = [(each.stored_at - each.last_slice_at).total_seconds() for each in counted]
    took_s = (ended - began).total_seconds()
    return {
        "studies": len(counted),
        "slices_each": SLICES,
        "minutes": round(took_s / 60, 1),
        "studies_per_hour": round(len(counted) / took_s * 3600),
        "s_from_last_slice_to_report": round(median(waited), 1),
        "of_95_in_100_below": round(quantiles(waited, n=20)[-1], 1),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    show("Studies per hour, end to end", run(minutes=parser.parse_args().minutes))


if __name__ == "__main__":
    main()
