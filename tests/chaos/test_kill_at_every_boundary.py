"""kill -9 at every boundary between two stages: what was acknowledged is reported, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from ich_triage.dicom.scu import Peer
from ich_triage.domain.states import FINAL_STATES
from ich_triage.store.database import Database
from tests import boundaries
from tests.forks import Fork, Forks
from tests.heads import SLICES, tiny_head
from tests.mllp import LOOPBACK, MllpListener
from tests.pacs import Pacs, counting_pacs
from tests.patient_scanner import PatientScanner
from tests.peers import probe_port
from tests.service import Json, destination, study, worklist, write_config

Wait = Callable[..., None]
#: studies under way at once
AT_ONCE = 3
STAGES = ("first_slice", "last_slice", "complete", "started", "inferred", "stored", "sent", "committed")


class Supervised:
    """A process that is started again whenever it dies, until the end of the block."""

    def __init__(self, start: Callable[[], Fork]) -> None:
        self._start = start
        self._ending = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.starts = 0

    def __enter__(self) -> Supervised:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        fork = None
        while not self._ending.wait(0.02):
            if fork is None or not fork.alive:
                fork = self._start()
                self.starts += 1
        if fork is not None:
            fork.end()


class Hospital:
    """Scanner, service under fire, PACS, and a listener for messages."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        forks: Forks,
        pacs: Pacs,
        us: Peer,
        listener: MllpListener,
    ) -> None:
        self.folder, self.database, self.pacs, self.listener = folder, database, pacs, listener
        self._forks = forks
        self._scanner = PatientScanner(us)
        self._config = write_config(
            folder,
            database_url=database.url.render_as_string(hide_password=False),
            port=us.port,
            destinations=[
                destination("pacs", pacs.peer, commitment=True),
                {"kind": "mllp", "name": "his", "host": LOOPBACK, "port": listener.port, "send": "all"},
            ],
            worker={"poll_s": 0.05, "heartbeat_s": 0.2, "dead_after_s": 1.0, "max_attempts": 10000},
            delivery={
                "backoff_s": 0.1,
                "backoff_max_s": 0.5,
                "max_attempts": 10000,
                "commitment_timeout_s": 2,
            },
        )
        #: Study Instance UID → whether it must be flagged
        self.acknowledged: dict[str, bool] = {}

    def plan(self, role: str) -> Path:
        """Where the boundaries stand that are left for a role."""
        return self.folder / f"{role}.plan"

    @contextmanager
    def service(self, workers: int = 1) -> Iterator[None]:
        """Receiver and workers, each with the plan of its role, each started again when it dies."""

        def start(role: str) -> Fork:
            log = self.folder / f"{role}.log"
            return self._forks.start(role, log, config=str(self._config), plan=str(self.plan(role)))

        with Supervised(lambda: start("receiver")), Supervised(lambda: start("worker")):
            if workers == 1:
                yield
                return
            with Supervised(lambda: start("worker")):
                yield

    def scan(self, *, clot: bool) -> None:
        """Send one study until it was acknowledged whole."""
        datasets = tiny_head(clot=clot)
        self._scanner.send(datasets, limit_s=900)
        self.acknowledged[str(datasets[0].StudyInstanceUID)] = clot

    def unsettled(self) -> list[str]:
        """Studies that are not final, or not committed to by the PACS."""
        rows = {row["study_instance_uid"]: row for row in worklist(self.database)}
        return [uid for uid in self.acknowledged if uid not in rows or not _settled(rows[uid])]

    def boundaries_left(self) -> dict[str, int]:
        """Of both roles."""
        return boundaries.remaining(self.plan("receiver")) | boundaries.remaining(self.plan("worker"))


def _settled(row: Json) -> bool:
    return row["state"] in FINAL_STATES and all(
        each["state"] == ("sent" if each["kind"] == "hl7" else "committed") for each in row["deliveries"]
    )


@pytest.fixture
def under_fire(tmp_path: Path, forks: Forks, wait_until: Wait) -> Callable[..., Hospital]:
    """Runs a hospital until every boundary was struck and every study is settled."""

    def run(database: Database, *, times: int, workers: int, studies: int) -> Hospital:
        us = Peer(host="127.0.0.1", port=probe_port(), ae_title="ICH_TRIAGE")
        with counting_pacs(commits_to=us) as pacs, MllpListener().serve() as listener:
            hospital = Hospital(tmp_path, database, forks, pacs, us, listener)
            boundaries.write_plan(hospital.plan("receiver"), boundaries.RECEIVER, times=times)
            boundaries.write_plan(hospital.plan("worker"), boundaries.WORKER, times=times)
            with hospital.service(workers):
                while hospital.boundaries_left() and len(hospital.acknowledged) < studies:
                    hospital.scan(clot=len(hospital.acknowledged) % 3 != 2)
                    wait_until(lambda: len(hospital.unsettled()) < AT_ONCE, limit_s=900, what="room")
                wait_until(lambda: not hospital.unsettled(), limit_s=900, what="every study's report")
            return hospital

    return run


def _check(hospital: Hospital) -> None:
    """The promises: acknowledged is reported, once is once, and nothing lies about."""
    assert hospital.boundaries_left() == {}
    expected = set()
    for uid, clot in hospital.acknowledged.items():
        told = study(hospital.database, uid)
        assert told["state"] == ("flagged" if clot else "not_flagged"), uid
        assert told["instances"] == len(told["slices"]) == SLICES, uid
        moments = [told["ledger"][stage] for stage in STAGES]
        assert None not in moments, told["ledger"]
        assert told["problems"] == []
        for revision in told["revisions"]:
            reports = [each["sop_instance_uid"] for each in revision["deliveries"] if each["kind"] == "sr"]
            # An answer that newer slices overtake is kept back, unless it is a flag.
            overtaken = revision["number"] < told["revision"] and revision["state"] != "flagged"
            wanted = {0} if revision["same_as"] else {0, 1} if overtaken else {1}
            assert len(reports) in wanted, uid
            objects = [each for each in revision["deliveries"] if each["kind"] != "hl7"]
            expected |= {each["sop_instance_uid"] for each in objects}
    assert set(hospital.pacs.arrivals) == expected
    for uid, arrivals in hospital.pacs.arrivals.items():
        assert len(set(arrivals)) == 1, f"{uid} came with different contents"
    heard = {message.extract_field("OBX", 1, 5) for message in hospital.listener.messages()}
    assert heard == set(hospital.acknowledged)
    assert len(set(hospital.listener.control_ids())) == len(set(hospital.listener.heard))
    spool = hospital.folder / "spool"
    lying_about = [
        path for folder in ("incoming", "inbox", "quarantine") for path in (spool / folder).iterdir()
    ]
    assert [path for path in lying_about if path.name != ".lock"] == []
    assert len(list(spool.glob("studies/*/*.dcm"))) == SLICES * len(hospital.acknowledged)


@pytest.mark.timeout(900)
@pytest.mark.risk("R-008")
def test_killed_at_every_boundary(under_fire: Callable[..., Hospital], sqlite: Database) -> None:
    """Receiver and worker die at each boundary in turn; every acknowledged study is reported once."""
    _check(under_fire(sqlite, times=1, workers=1, studies=120))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_again_and_again_with_two_workers(
    under_fire: Callable[..., Hospital], database: Database
) -> None:
    """Four deaths at each boundary, two workers beside each other, on both databases."""
    _check(under_fire(database, times=4, workers=2, studies=400))
