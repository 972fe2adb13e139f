"""What docs/worklist.md has pictures of: phantoms that the shipped package has answered, at set times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ich_triage import bootstrap
from ich_triage.domain.labels import Subtype
from ich_triage.domain.priority import rank
from ich_triage.domain.states import FINAL_STATES, DeliveryState, ReasonCode, StudyState
from ich_triage.phantom import dicom, generate, spec
from ich_triage.settings import Settings, load
from ich_triage.store import feedback, studies
from ich_triage.store import worklist as query
from ich_triage.store.database import Database
from ich_triage.store.tables import Receiver, Revision, Study, Worker
from tests.forks import REPOSITORY
from tests.pacs import counting_pacs
from tests.peers import probe_port
from tests.service import complete, destination, put, write_config

PICTURES = REPOSITORY / "docs" / "pictures"
READER, ADMIN = "dr reader", "the admin"
_COLOURS = 256
#: when the last slice of a study came, on the pages that tell the time of day
MORNING = datetime(2026, 1, 2, 7, 30, tzinfo=UTC)
#: ledger of each study, from its last slice, s
_STEPS = {"complete_at": 1.2, "enqueued_at": 1.2, "started_at": 1.4, "inferred_at": 3.1, "stored_at": 3.4}
_SENT_S, _SCAN_S, _WAIT_S = 4.1, 9.0, 600.0


@dataclass(frozen=True, kw_only=True)
class Patient:
    """One phantom, and how its study stands on the list."""

    #: seed of the phantom
    seed: int
    #: what it bleeds from; none is a head without a bleed
    bleeds: tuple[Subtype, ...] = ()
    #: contrast agent was given
    contrast: bool = False
    #: an urgent request
    stat: bool = False
    #: the state to set where no worker is to look at it
    state: StudyState | None = None
    #: how long it has waited, min
    minutes: int


PATIENTS = {
    "Phantom^Subdural": Patient(seed=108, bleeds=(Subtype.SUBDURAL,), minutes=14),
    "Phantom^Mixed": Patient(
        seed=109, bleeds=(Subtype.INTRAPARENCHYMAL, Subtype.INTRAVENTRICULAR), stat=True, minutes=2
    ),
    "Phantom^Normal": Patient(seed=101, minutes=31),
    "Phantom^Contrast": Patient(seed=103, contrast=True, minutes=22),
    "Phantom^Under way": Patient(seed=104, state=StudyState.IN_PROGRESS, minutes=1),
    "Phantom^Stopped": Patient(seed=105, state=StudyState.FAILED, minutes=18),
}


class Scene:
    """A service whose clock and studies are set, and the pages that show it."""

    def __init__(self, folder: Path, settings: Settings, page: Page) -> None:
        self.folder, self.settings, self.page = folder, settings, page
        self.database = Database(settings.database.url)

    def shoot(self, name: str, *, whole: bool = False) -> None:
        """One picture, in few colours."""
        self.beat()
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(1500)  # the mark of a row that has moved fades
        png = Image.open(BytesIO(self.page.screenshot(full_page=whole))).convert("RGB")
        few = png.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(PICTURES / f"{name}.png", optimize=True)

    def beat(self) -> None:
        """Receiver and worker live, once they have begun."""
        with self.database.write() as session:
            for process in (Receiver, Worker):
                session.execute(update(process).values(seen_at=datetime.now(UTC)))

    def go(self, path: str) -> None:
        """Open a page; where it has pictures, until one is drawn."""
        self.beat()
        self.page.goto(path)
        self.page.wait_for_function(
            "() => !document.querySelector('#where') || document.querySelector('#where').textContent"
        )


def settings_of(folder: Path) -> Settings:
    pages = {"host": "127.0.0.1", "port": probe_port()}
    viewer = {"viewer_url": "https://viewer.example/?study={study_instance_uid}"}
    return load(write_config(folder, web=pages, worklist=viewer, log={"level": "error"}))


def fill(database: Database, settings: Settings) -> dict[str, str]:
    """Phantoms by name, as the worker leaves them, and rows besides; UIDs by name."""
    uids = {}
    with counting_pacs() as pacs:
        where = load(write_config(settings.spool.path.parent, destinations=[destination("pacs", pacs.peer)]))
        for name, patient in PATIENTS.items():
            drawn = spec.draw(
                patient.seed, bleeds=patient.bleeds or None, slices=28, contrast=patient.contrast
            )
            datasets = dicom.study_datasets(generate.generate(drawn), series=("localizer", "soft"))
            for ds in datasets:
                ds.PatientName = name
            put(database, settings.spool.path, datasets, stat=patient.stat)
            uids[name] = str(datasets[0].StudyInstanceUID)
            if patient.state is None:
                complete(database, uids[name])
        worker = bootstrap.worker(where, database)
        worker.start()
        wanted = [uids[name] for name, patient in PATIENTS.items() if patient.state is None]
        _wait(lambda: all(_settled(database, uid) for uid in wanted))
        worker.stop()
    for name, patient in PATIENTS.items():
        if patient.state is not None:
            _set_state(database, uids[name], patient.state)
    return uids


def _settled(database: Database, uid: str) -> bool:
    with database.read() as session:
        row = query.one(session, uid)
        sent = row.decided is not None and all(
            each.state != DeliveryState.PENDING for each in row.decided.deliveries
        )
        return row.study.state in FINAL_STATES and sent


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the phantoms were not analysed in time")
        time.sleep(0.2)


def _set_state(database: Database, uid: str, state: StudyState) -> None:
    """As if a worker were at it, or had failed on it."""
    complete(database, uid)
    with database.write() as session:
        study = studies.get(session, uid)
        for each in (study, study.revisions[-1]):
            each.state = state
            if state is StudyState.FAILED:
                each.reason_code = ReasonCode.ANALYSIS_ERROR
                each.reason = "the analysis stopped: RuntimeError; once mended, run `ich-triage reprocess`"
        study.rank = rank(state, stat=study.stat)


def set_clock(scene: Scene, uids: dict[str, str], last_slice: Callable[[Patient], datetime]) -> None:
    """Every study as if its last slice had come then."""
    with scene.database.write() as session:
        for name, uid in uids.items():
            _shift(session, uid, last_slice(PATIENTS[name]))


def minutes_ago(patient: Patient) -> datetime:
    """When its last slice came, on pages that tell how long it has waited."""
    return datetime.now(UTC) - timedelta(minutes=patient.minutes)


def begin_work(database: Database) -> None:
    """From now on a receiver and a worker live."""
    now = datetime.now(UTC)
    with database.write() as session:
        session.add(Receiver(id="r", host="r", pid=0, seen_at=now))
        session.add(Worker(id="w", host="w", pid=0, started_at=now, seen_at=now))


def _shift(session: Session, uid: str, last_slice: datetime) -> None:
    study = studies.get(session, uid)
    for each in (study, *study.revisions):
        each.first_slice_at = last_slice - timedelta(seconds=_SCAN_S)
        each.last_slice_at = last_slice
    for revision in study.revisions:
        for step, seconds in _STEPS.items():
            if getattr(revision, step) is not None:
                setattr(revision, step, last_slice + timedelta(seconds=seconds))
        for delivery in revision.deliveries:
            delivery.sent_at = delivery.sent_at and last_slice + timedelta(seconds=_SENT_S)


@contextmanager
def web(scene: Scene) -> Iterator[None]:
    server = bootstrap.web(scene.settings, scene.database)
    server.start()
    try:
        yield
    finally:
        server.stop()


@contextmanager
def changed(scene: Scene, find: Callable[[Session], object], **columns: object) -> Iterator[None]:
    """Columns of the row that `find` returns, for a while."""
    before = {}
    with scene.database.write() as session:
        row = find(session)
        for name, value in columns.items():
            before[name] = getattr(row, name)
            setattr(row, name, value)
    yield
    with scene.database.write() as session:
        for name, value in before.items():
            setattr(find(session), name, value)


def answer(database: Database, uid: str, *, agrees: bool) -> None:
    with database.write() as session:
        revision = session.scalars(select(Revision).join(Study).where(Study.study_instance_uid == uid)).one()
        opinion = feedback.Opinion(reader=READER, agrees=agrees)
        feedback.give(session, revision, opinion, revision.first_slice_at + timedelta(minutes=5))
