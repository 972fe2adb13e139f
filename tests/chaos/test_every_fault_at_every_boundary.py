"""The chaos matrix: at every boundary between two stages kill -9, the database away, the disk full."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from ich_triage.store.database import Database
from tests import boundaries
from tests.forks import REPOSITORY, Forks
from tests.hospital import Hospital
from tests.keeping import add_old, rows
from tests.outages import Outages, small_disk
from tests.readers import Readers

Wait = Callable[..., None]
#: studies under way at once
AT_ONCE = 3
# threads in which pynetdicom serves peers, not the product, may fall over a process that dies meanwhile
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception in thread Thread-\d+ \(run_reactor\):pytest.PytestUnhandledThreadExceptionWarning"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """What can be filled up."""
    with small_disk(tmp_path, size="200m") as found:  # room for all studies of the long form
        yield found


@pytest.fixture
def under_fire(tmp_path: Path, disk: Path, forks: Forks, wait_until: Wait) -> Callable[..., Hospital]:
    """Runs a hospital until every fault has struck at every boundary and every study is settled."""
    started = monotonic()

    def run(database: Database, *, times: int, workers: int, studies: int) -> Hospital:
        hospital = Hospital(tmp_path, disk, database, forks)
        faults = [fault for fault in boundaries.FAULTS if fault != boundaries.DISK or disk.is_mount()]
        for role, names in boundaries.OF_ROLES.items():
            boundaries.write_plan(hospital.plan(role), names, times * faults)
        # of long ago, for retention to remove meanwhile: each is there for one strike behind its removal
        for number in range(times * len(faults) + 1):
            add_old(database, disk, f"1.2.{number}")
        old = rows(database)
        assert old
        readers = Readers(database)
        with (
            hospital.peers(),
            hospital.askers.listening(),
            readers.listening(),
            _outages(hospital) as outages,
        ):
            config = hospital.configure(retention={"studies_days": 30}, **readers.sections)
            hospital.askers.configure(config)
            readers.configure(config)
            with hospital.service(config, workers=workers, others=["web", "query"]):
                readers.begin()
                while hospital.boundaries_left() and len(hospital.acknowledged) < studies:
                    number = len(hospital.acknowledged)
                    body_part = "KNEE" if number % 5 == 4 else "HEAD"
                    hospital.scan(clot=number % 3 != 2, commits=True, body_part=body_part)
                    wait_until(lambda: hospital.unsettled() < AT_ONCE, limit_s=900, what="room", every_s=0.1)
                    readers.read_studies(hospital.settled())
                wait_until(
                    lambda: not hospital.unsettled(), limit_s=900, what="every study's report", every_s=0.1
                )
                readers.read_studies(hospital.acknowledged.keys())
                wait_until(lambda: not hospital.askers.unheard(), limit_s=60, what="every commitment")
                wait_until(lambda: not readers.unheard(), limit_s=60, what="every step's end")
                wait_until(lambda: not hospital.halves(), limit_s=60, what="an end of half-written files")
        _report(hospital, outages, took_s=monotonic() - started)
        assert readers.read.keys() == hospital.acknowledged.keys()
        readers.check()
        return hospital

    return run


@contextmanager
def _outages(hospital: Hospital) -> Iterator[Outages]:
    outages = Outages(boundaries.address(hospital.plan("worker")), hospital.database, hospital.disk)
    with outages.serve():
        yield outages


def _report(hospital: Hospital, outages: Outages, *, took_s: float) -> None:
    """What was done, for `build/`; nothing is decided by it."""
    told = {
        "studies": len(hospital.acknowledged),
        "outages": {fault: len(ends) for fault, ends in outages.ended.items()},
        "starts": {name: process.starts for name, process in hospital.supervised.items()},
        "objects at the PACS": len(hospital.pacs.arrivals),
        "arrivals there": sum(map(len, hospital.pacs.arrivals.values())),
        "took_s": round(took_s),
    }
    build = REPOSITORY / "build"
    build.mkdir(exist_ok=True)
    name = hospital.database.url.get_backend_name()
    (build / f"chaos-{name}.json").write_text(json.dumps(told, indent=1) + "\n")


def _check(hospital: Hospital) -> None:
    assert hospital.boundaries_left() == {}
    hospital.check()
    if not hospital.disk.is_mount():
        pytest.skip("all but the full disk held: mounting one is not permitted here")


@pytest.fixture
def on_disk(disk: Path, migrated_sqlite: Path) -> Iterator[Database]:
    """SQLite on the same disk as the spool, as on one machine."""
    shutil.copy(migrated_sqlite, disk / "ich.sqlite")
    database = Database(f"sqlite:///{disk / 'ich.sqlite'}")
    yield database
    database.close()


@pytest.mark.timeout(900)
@pytest.mark.risk("R-008")
def test_every_fault_at_every_boundary(under_fire: Callable[..., Hospital], on_disk: Database) -> None:
    """Every process dies, waits for the database and meets a full disk at each of its boundaries in turn."""
    _check(under_fire(on_disk, times=1, workers=1, studies=200))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_again_and_again_with_two_workers(
    under_fire: Callable[..., Hospital], kind: str, request: pytest.FixtureRequest
) -> None:
    """Each fault three times at each boundary, two workers beside each other, on both databases."""
    database = request.getfixturevalue("on_disk" if kind == "sqlite" else "postgresql")
    _check(under_fire(database, times=3, workers=2, studies=600))
