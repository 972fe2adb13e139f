"""Pictures for docs/worklist.md: every page and state, of phantoms that the shipped package has answered.

`make screenshots` draws them anew into docs/pictures/. The times that they show are set, so that pictures
change only when pages do.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import structlog
from PIL import Image
from playwright.sync_api import Page
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ich_triage import bootstrap
from ich_triage.domain.labels import Subtype
from ich_triage.domain.priority import rank
from ich_triage.domain.roles import Role
from ich_triage.domain.states import FINAL_STATES, DeliveryState, ReasonCode, StudyState
from ich_triage.phantom import dicom, generate, spec
from ich_triage.settings import Settings, load
from ich_triage.store import feedback, first_admin, migrate, studies, tokens
from ich_triage.store import worklist as query
from ich_triage.store.account_tables import Account, ServiceToken
from ich_triage.store.database import Database
from ich_triage.store.tables import Receiver, Revision, Study, Worker
from tests.chromium import chromium
from tests.forks import REPOSITORY
from tests.listed import put_on_list
from tests.pacs import counting_pacs
from tests.peers import probe_port
from tests.service import complete, destination, put, write_config
from tests.web import PASSWORD, add_account

PICTURES = REPOSITORY / "docs" / "pictures"
READER, ADMIN = "dr reader", "the admin"
_WIDE, _PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
_COLOURS = 256
#: when the last slice of a study came, on the pages that tell the time of day
_MORNING = datetime(2026, 1, 2, 7, 30, tzinfo=UTC)
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


def main() -> None:
    """Draw all pictures."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = _settings(folder)
        database = Database(settings.database.url)
        migrate.upgrade(database)
        add_account(database, READER, Role.RADIOLOGIST)
        uids = _fill(database, settings)
        database.close()
        with chromium() as browser:
            page = browser.new_page(
                base_url=f"http://127.0.0.1:{settings.web.port}", viewport=_WIDE, color_scheme="dark"
            )
            scene = Scene(folder, settings, page)
            with _web(scene):
                _set_clock(scene, uids, _minutes_ago)
                _first_admin(scene)
                add_account(scene.database, ADMIN, Role.ADMIN)
                _outside(scene)
                _lists(scene, uids)
                _studies(scene, uids)
                _others(scene, uids)
                _people(scene)
            _set_clock(scene, uids, _minutes_ago)
            _lost(scene)


def _settings(folder: Path) -> Settings:
    web = {"host": "127.0.0.1", "port": probe_port()}
    viewer = {"viewer_url": "https://viewer.example/?study={study_instance_uid}"}
    return load(write_config(folder, web=web, worklist=viewer, log={"level": "error"}))


def _fill(database: Database, settings: Settings) -> dict[str, str]:
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


def _set_clock(scene: Scene, uids: dict[str, str], last_slice: Callable[[Patient], datetime]) -> None:
    """Every study as if its last slice had come then."""
    with scene.database.write() as session:
        for name, uid in uids.items():
            _shift(session, uid, last_slice(PATIENTS[name]))


def _minutes_ago(patient: Patient) -> datetime:
    """When its last slice came, on pages that tell how long it has waited."""
    return datetime.now(UTC) - timedelta(minutes=patient.minutes)


def _begin_work(database: Database) -> None:
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
def _web(scene: Scene) -> Iterator[None]:
    server = bootstrap.web(scene.settings, scene.database)
    server.start()
    try:
        yield
    finally:
        server.stop()


def _first_admin(scene: Scene) -> None:
    with scene.database.write() as session:
        secret = first_admin.renew(session, datetime.now(UTC))
    scene.go(f"/first-admin?secret={secret}")
    scene.shoot("first-admin")


def _outside(scene: Scene) -> None:
    scene.go("/login")
    scene.shoot("login")
    _type_in(scene.page, READER, "wrong")
    scene.page.wait_for_selector(".error")
    scene.shoot("login-refused")
    _type_in(scene.page, READER, PASSWORD)
    scene.page.wait_for_url("**/")
    scene.shoot("list-nobody-alive")


def _type_in(page: Page, name: str, password: str) -> None:
    page.fill("#name", name)
    page.fill("#password", password)
    page.keyboard.press("Enter")


def _lists(scene: Scene, uids: dict[str, str]) -> None:
    _begin_work(scene.database)
    put_on_list(scene.database, "Phantom^Waiting", StudyState.NOT_FLAGGED, minutes=262)
    put_on_list(scene.database, "Phantom^Coming", StudyState.RECEIVING, minutes=0.2)
    answered = put_on_list(scene.database, "Phantom^Answered", minutes=47)
    _answer(scene.database, answered, agrees=True)
    scene.go("/")
    scene.page.keyboard.press("j")
    scene.shoot("list", whole=True)
    scene.page.emulate_media(color_scheme="light")
    scene.shoot("list-light", whole=True)
    scene.page.emulate_media(color_scheme="dark")
    scene.page.set_viewport_size(_PHONE)
    scene.shoot("list-phone")
    scene.page.set_viewport_size(_WIDE)
    scene.page.keyboard.press("?")
    scene.shoot("list-keys")
    scene.page.keyboard.press("Escape")
    scene.page.get_by_label("Not analysed").check()
    scene.shoot("list-filtered")
    scene.page.get_by_label("Not analysed").uncheck()
    for words, name in (("subdural", "list-search"), ("nobody", "list-empty")):
        scene.page.fill("#search", words)
        scene.shoot(name)
    scene.page.fill("#search", "")


def _studies(scene: Scene, uids: dict[str, str]) -> None:
    _set_clock(scene, uids, lambda patient: _MORNING)
    page = scene.page
    scene.go(f"/studies/{uids['Phantom^Mixed']}")
    scene.shoot("study-flagged", whole=True)
    page.keyboard.press("o")
    scene.shoot("study-outlines-off")
    page.keyboard.press("o")
    page.keyboard.press("3")
    scene.shoot("study-bone")
    page.set_viewport_size(_PHONE)
    page.keyboard.press("1")
    scene.shoot("study-phone", whole=True)
    page.set_viewport_size(_WIDE)
    for name, patient in PATIENTS.items():
        if not patient.bleeds:
            scene.go(f"/studies/{uids[name]}")
            scene.shoot(f"study-{name.partition('^')[2].replace(' ', '-').lower()}")
    _changing(scene, uids)


def _changing(scene: Scene, uids: dict[str, str]) -> None:
    """An answer, news under the reader's eyes, images that are gone; afterwards all is as before."""
    page, mixed, waits = scene.page, uids["Phantom^Mixed"], uids["Phantom^Under way"]
    scene.go(f"/studies/{mixed}")
    page.get_by_label("IPH").check()
    page.get_by_label("IVH").check()
    page.keyboard.press("a")
    page.wait_for_selector("#kept:not(:empty)")
    scene.shoot("study-answered")
    page.keyboard.press("u")
    page.wait_for_selector("#back:disabled")
    scene.go(f"/studies/{waits}")
    with _changed(scene, waits, state=StudyState.FLAGGED):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_selector("#news:not([hidden])")
        scene.shoot("study-news")
    with _changed(scene, mixed, images_removed_at=_MORNING + timedelta(days=90), instance_count=0):
        page.goto(f"/studies/{mixed}")
        page.wait_for_selector("#trouble:not([hidden])")
        scene.shoot("study-removed")


@contextmanager
def _changed(scene: Scene, uid: str, **columns: object) -> Iterator[None]:
    """Columns of a study, for a while."""
    before = {}
    with scene.database.write() as session:
        study = studies.get(session, uid)
        for name, value in columns.items():
            before[name] = getattr(study, name)
            setattr(study, name, value)
    yield
    with scene.database.write() as session:
        for name, value in before.items():
            setattr(studies.get(session, uid), name, value)


def _others(scene: Scene, uids: dict[str, str]) -> None:
    scene.go(f"/studies/{uids['Phantom^Mixed']}/report")
    scene.shoot("report")
    scene.go("/studies/1.2.3")
    scene.shoot("refused")
    for day in range(28):
        for number in range(6):
            state = StudyState.FLAGGED if (day + number) % 4 == 0 else StudyState.NOT_FLAGGED
            uid = put_on_list(scene.database, "Phantom^Earlier", state, minutes=1440 * (4 + day))
            if number < 3:
                _answer(scene.database, uid, agrees=(day + number) % 7 > 0)
    scene.go("/quality")
    scene.shoot("quality")
    with scene.database.write() as session:
        earlier = update(Study).where(Study.patient_name == "Phantom^Earlier")
        session.execute(earlier.values(changed_at=_MORNING))


def _people(scene: Scene) -> None:
    """What a radiologist and an admin see of accounts; their times are set."""
    page = scene.page
    scene.go("/account")
    scene.shoot("account")
    page.get_by_role("button", name="Log out", exact=True).click()
    page.wait_for_url("**/login")
    _type_in(page, ADMIN, PASSWORD)
    page.wait_for_url("**/")
    with scene.database.write() as session:
        tokens.make(session, "dashboard", days=365, now=datetime.now(UTC))
        session.execute(update(Account).values(created_at=_MORNING, last_login_at=_MORNING))
        session.execute(update(ServiceToken).values(expires_at=_MORNING + timedelta(days=3650)))
    for path, name in (("/users", "users"), ("/users/1", "user")):
        scene.go(path)
        scene.shoot(name, whole=True)
    page.get_by_role("button", name="Log out", exact=True).click()
    page.wait_for_url("**/login")
    _type_in(page, READER, PASSWORD)
    page.wait_for_url("**/")


def _answer(database: Database, uid: str, *, agrees: bool) -> None:
    with database.write() as session:
        revision = session.scalars(select(Revision).join(Study).where(Study.study_instance_uid == uid)).one()
        opinion = feedback.Opinion(reader=READER, agrees=agrees)
        feedback.give(session, revision, opinion, revision.first_slice_at + timedelta(minutes=5))


def _lost(scene: Scene) -> None:
    with _web(scene):
        scene.go("/")
        scene.page.wait_for_selector(".row")
    scene.page.wait_for_selector("#lost:not([hidden])")
    scene.shoot("list-lost")
    scene.database.close()


if __name__ == "__main__":
    main()
