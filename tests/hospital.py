"""A hospital under fire: scanner, service with processes that are started again, PACS, message listener."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ich_triage.dicom.scu import Peer
from ich_triage.domain.states import FINAL_STATES
from ich_triage.store.database import Database
from ich_triage.store.tables import Delivery, Revision, Study
from tests import boundaries
from tests.committed import CommitmentAsker
from tests.files import files_below
from tests.forks import Fork, Forks
from tests.heads import SLICES, tiny_head
from tests.mllp import LOOPBACK, MllpListener
from tests.pacs import Pacs, counting_pacs
from tests.patient_scanner import PatientScanner
from tests.peers import probe_port
from tests.service import destination, study, write_config

STAGES = ("first_slice", "last_slice", "complete", "started", "inferred", "stored", "sent", "committed")


#: wait before a process is started again, s
_RESTART_S = 0.15


class Supervised:
    """A process that is started again whenever it dies, until the end of the block."""

    def __init__(self, start: Callable[[], Fork]) -> None:
        self._start = start
        self._ending = Event()
        self._thread = Thread(target=self._run, daemon=True)
        #: the process of now
        self.fork: Fork | None = None
        self.starts = 0

    def __enter__(self) -> Supervised:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(0.02):
            if self.fork is None or (not self.fork.alive and not self._ending.wait(_RESTART_S)):
                self.fork = self._start()
                self.starts += 1
        if self.fork is not None:
            self.fork.end()


class Hospital:
    """What it has sent, and what became of it. `disk` takes spool and, with SQLite, the database."""

    def __init__(self, folder: Path, disk: Path, database: Database, forks: Forks) -> None:
        self.folder, self.disk, self.database = folder, disk, database
        #: starts the processes
        self.forks = forks
        #: Study Instance UID → whether it must be flagged
        self.acknowledged: dict[str, bool] = {}
        #: of those, the ones that are no heads, and must not be analysed
        self.no_heads: set[str] = set()
        self.us = Peer(host="127.0.0.1", port=probe_port(), ae_title="ICH_TRIAGE")
        self.pacs: Pacs
        self.listener = MllpListener()
        #: scanners that ask for storage commitment, where wanted: `listening`, `configure`
        self.askers = CommitmentAsker(self.us)
        #: the processes
        self.supervised: dict[str, Supervised] = {}

    def plan(self, role: str) -> Path:
        """Where the boundaries stand that are left for a role."""
        return self.folder / f"{role}.plan"

    def configure(self, **sections: dict[str, Any]) -> Path:
        """Write the configuration; `sections` add to it."""
        values: dict[str, dict[str, Any]] = {
            "spool": {"path": str(self.disk / "spool")},
            "worker": {"poll_s": 0.08, "heartbeat_s": 0.2, "dead_after_s": 0.6, "max_attempts": 10000},
            "delivery": {
                "backoff_s": 0.1,
                "backoff_max_s": 0.5,
                "max_attempts": 10000,
                "commitment_timeout_s": 1.5,
            },
        }
        for name, section in sections.items():
            values[name] = values.get(name, {}) | section
        return write_config(
            self.folder,
            database_url=self.database.url.render_as_string(hide_password=False),
            port=self.us.port,
            destinations=[
                destination("pacs", self.pacs.peer, commitment=True),
                {"kind": "mllp", "name": "his", "host": LOOPBACK, "port": self.listener.port, "send": "all"},
            ],
            **values,
        )

    @contextmanager
    def peers(self, *, keeps: bool = True) -> Iterator[None]:
        """PACS and message listener; `keeps`: the PACS keeps objects and not only their hashes."""
        with counting_pacs(commits_to=self.us, keeps=keeps) as self.pacs, self.listener.serve():
            yield

    @contextmanager
    def service(
        self,
        config: Path,
        *,
        workers: int = 1,
        worker: dict[str, Any] | None = None,
        others: Sequence[str] = (),
        hurried: bool = True,
    ) -> Iterator[None]:
        """Receiver and workers, with the plans that there are, each started again when it dies.

        `worker`: what the workers get besides (`tests.roles`); `others`: web, query; `hurried`: see there.
        """

        def start(role: str, log: str) -> Fork:
            plan = self.plan(role)
            options: dict[str, Any] = {"hurried": hurried}
            if plan.exists():
                options["plan"] = str(plan)
            if role == "worker":
                options |= worker or {}
            return self.forks.start(role, self.folder / f"{log}.log", config=str(config), **options)

        with ExitStack() as stack:
            for log in ("receiver", *(f"worker{number}" for number in range(workers)), *others):
                role = log.rstrip("0123456789")
                process = Supervised(lambda role=role, log=log: start(role, log))  # type: ignore[misc]
                self.supervised[log] = stack.enter_context(process)
            yield

    def scan(
        self, *, clot: bool, limit_s: float = 900, commits: bool = False, body_part: str = "HEAD"
    ) -> str:
        """Send one study until it was acknowledged whole; returns its UID.

        `commits`: and ask for storage commitment of it. `body_part`: what its headers say that it shows.
        """
        datasets = tiny_head(clot=clot)
        for ds in datasets:
            ds.BodyPartExamined, ds.SeriesDescription = body_part, f"{body_part} STD"
        PatientScanner(self.us).send(datasets, limit_s=limit_s)
        if commits:
            self.askers.ask(datasets, limit_s=limit_s)
        uid = str(datasets[0].StudyInstanceUID)
        self.acknowledged[uid] = clot
        if body_part != "HEAD":
            self.no_heads.add(uid)
        return uid

    def unsettled(self) -> int:
        """Studies acknowledged that are not final, or whose report has not arrived everywhere for good."""
        return len(self.acknowledged) - len(self.settled())

    def settled(self) -> set[str]:
        """Those that are, and whose reports have arrived; none while the database is away."""
        with suppress(SQLAlchemyError), self.database.read() as session:
            return self.acknowledged.keys() & _settled(session)
        return set()

    def boundaries_left(self) -> dict[str, list[str]]:
        """Of every role that has a plan."""
        return {
            f"{plan.stem}: {name}": faults
            for plan in sorted(self.folder.glob("*.plan"))
            for name, faults in boundaries.remaining(plan).items()
        }

    def check(self, *, sure: bool = True) -> None:
        """The promises: acknowledged is reported, once is once, and nothing lies about.

        `sure`: the analyser says of every head what is in it.
        """
        expected = set()
        for uid, clot in self.acknowledged.items():
            expected |= self._check_study(uid, clot=clot if sure else None)
        assert set(self.pacs.arrivals) == expected
        for uid, arrivals in self.pacs.arrivals.items():
            assert len(set(arrivals)) == 1, f"{uid} came with different contents"
        heard = {message.extract_field("OBX", 1, 5) for message in self.listener.messages()}
        assert heard == set(self.acknowledged)
        assert len(set(self.listener.control_ids())) == len(set(self.listener.heard))
        self._check_files()
        self.askers.check()

    def _check_study(self, uid: str, *, clot: bool | None) -> set[str]:
        """One study; returns the SOP Instance UIDs that the PACS must have of it."""
        told = study(self.database, uid)
        if uid in self.no_heads:
            assert (told["state"], told["reason"]["code"]) == ("not_analysed", "not_a_head"), uid
        else:
            wanted_states = {None: {"flagged", "not_flagged"}, True: {"flagged"}, False: {"not_flagged"}}
            assert told["state"] in wanted_states[clot], uid
            assert len(told["slices"]) == SLICES, uid
        assert told["instances"] == SLICES, uid
        reached = [stage for stage in STAGES if told["ledger"][stage] is not None]
        assert reached == [stage for stage in STAGES if stage != "inferred" or uid not in self.no_heads], uid
        assert told["problems"] == []
        expected = set()
        for revision in told["revisions"]:
            reports = [each["sop_instance_uid"] for each in revision["deliveries"] if each["kind"] == "sr"]
            # An answer that newer slices overtake is kept back, unless it is a flag.
            overtaken = revision["number"] < told["revision"] and revision["state"] != "flagged"
            wanted = {0} if revision["same_as"] else {0, 1} if overtaken else {1}
            assert len(reports) in wanted, uid
            objects = [each for each in revision["deliveries"] if each["kind"] != "hl7"]
            expected |= {each["sop_instance_uid"] for each in objects}
        return expected

    def halves(self) -> list[str]:
        """Of the spool's files that were not written to their end."""
        return [
            path.as_posix()
            for path in files_below(self.disk / "spool")
            if path.name.startswith(".") and path.name not in (".lock", ".link")
        ]

    def _check_files(self) -> None:
        """No half, no file that nobody knows, none lost."""
        files = [path for path in files_below(self.disk / "spool") if path.name != ".lock"]
        assert self.halves() == []
        with self.database.read() as session:
            sent = {each.path for each in session.scalars(select(Delivery))}
            known = {each.study_instance_uid for each in session.scalars(select(Study))}
            masks = {
                f"masks/{each.study.study_instance_uid}/{each.number}.npz"
                for each in session.scalars(select(Revision))
            }
        objects = {path.as_posix() for path in files if path.parts[0] == "studies"}
        # a render that was repeated for a revision that was then overtaken is of that revision all the same
        others = {path.as_posix() for path in files} - objects
        assert {path for path in others if not path.startswith("outbox/")} <= masks
        outbox = {path for path in others if path.startswith("outbox/")}
        assert outbox >= sent
        assert {path.split("/")[1] for path in outbox} <= known
        assert len(objects) == SLICES * len(self.acknowledged)


def _settled(session: Session) -> set[str]:
    """UIDs of studies that are final and of which everything that was to be sent has arrived for good."""
    waiting = (
        select(Delivery.id)
        .join(Revision)
        .where(Revision.study_id == Study.id, Delivery.state.not_in(("committed", "superseded")))
        .where((Delivery.kind != "hl7") | (Delivery.state != "sent"))
    )
    query = select(Study.study_instance_uid).where(
        Study.state.in_(FINAL_STATES), Study.assembling_since.is_(None)
    )
    reported = select(Delivery.id).join(Revision).where(Revision.study_id == Study.id)
    return set(session.scalars(query.where(reported.exists(), ~waiting.exists())))
