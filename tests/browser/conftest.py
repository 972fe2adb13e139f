"""The whole service in processes of its own, and a Chromium that people sit at."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pydicom.dataset import Dataset
from sqlalchemy import update

from ich_triage.domain.roles import Role
from ich_triage.domain.states import FINAL_STATES
from ich_triage.store import migrate
from ich_triage.store.database import Database
from ich_triage.store.tables import Study
from tests.chromium import Watch, chromium
from tests.forks import Fork, Forks, fork_server
from tests.pacs import Pacs, counting_pacs
from tests.peers import LOOPBACK, probe_port
from tests.receiving import send
from tests.service import Json, all_deliveries, destination, study, worklist, write_config
from tests.web import PASSWORD, add_account

__all__ = ["fork_server"]

Wait = Callable[..., None]
Open = Callable[..., Page]
#: who has accounts
READER, SECOND, ADMIN = "dr reader", "dr second", "the admin"
#: how long a page may take on a busy machine, ms
_PATIENCE_MS = 20_000
#: the oldest time there is: what is moved there is on no list
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
VIEWER = "https://viewer.example/open?study={study_instance_uid}&accession={accession_number}"
#: HU of the first voxel of a study on which the analysis fails
BROKEN_HU = -888


def is_open(port: int) -> bool:
    """Whether something listens."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


class Site:
    """Receiver, worker, web and a PACS on one database."""

    def __init__(self, folder: Path, forks: Forks, pacs: Pacs, wait_until: Wait) -> None:
        self._folder, self._forks, self._wait = folder, forks, wait_until
        self._sent: list[str] = []
        #: cookies of those who have logged in, by name
        self.sessions: dict[str, Any] = {}
        self.spool = folder / "spool"
        self.hold = folder / "hold"
        self.dicom_port, self.web_port = probe_port(), probe_port()
        self.url = f"http://127.0.0.1:{self.web_port}"
        self._config = write_config(
            folder,
            port=self.dicom_port,
            destinations=[destination("pacs", pacs.peer)],
            web={"host": "127.0.0.1", "port": self.web_port},
            dicom={"ae_title": "ICH_TEST", "host": "127.0.0.1", "port": self.dicom_port},
            worklist={"page_size": 20, "viewer_url": VIEWER},
            assembly={"settle_s": 0.2, "quiet_s": 1.0, "sweep_s": 0.1},
        )
        self.database = Database(f"sqlite:///{folder / 'ich.sqlite'}")
        migrate.upgrade(self.database)
        for name, role in ((READER, Role.RADIOLOGIST), (SECOND, Role.RADIOLOGIST), (ADMIN, Role.ADMIN)):
            add_account(self.database, name, role)
        self.receiver = self.start("receiver")
        self.start_worker()
        self.web = self.start("web")
        for port in (self.dicom_port, self.web_port):
            self.until(lambda port=port: is_open(port), what=f"port {port}")

    def start_worker(self) -> None:
        """Start the only worker; it leaves rows alone that tests put on the list."""
        self.worker = self.start("worker", hold=str(self.hold), breaks_at=BROKEN_HU, reconciles=False)

    def start(self, role: str, **options: object) -> Fork:
        """Start one process."""
        log = self._folder / f"{role}.log"
        log.touch()
        return self._forks.start(role, log, config=str(self._config), **options)

    def until(self, condition: Callable[[], object], *, what: str) -> None:
        """Wait."""
        self._wait(condition, limit_s=60, what=f"{what}; see {self._folder}")

    def send(self, datasets: Sequence[Dataset]) -> str:
        """C-STORE a study; returns its UID."""
        assert set(send(self.dicom_port, datasets)) == {0}
        uid = str(datasets[0].StudyInstanceUID)
        self._sent.append(uid)
        return uid

    def study(self, uid: str) -> Json:
        """What is known of a study."""
        return study(self.database, uid)

    def until_final(self, *uids: str) -> None:
        """Wait until each study is final and all that is to be sent has been."""
        for uid in uids:
            self.until(lambda uid=uid: self._settled(uid), what=uid)

    def _settled(self, uid: str) -> bool:
        if uid not in {each["study_instance_uid"] for each in worklist(self.database)}:
            return False
        pending = any(each["state"] == "pending" for each in all_deliveries(self.database, uid))
        return self.study(uid)["state"] in FINAL_STATES and not pending

    def touch(self, uid: str) -> None:
        """Write a study as it is, so that open lists are renewed."""
        with self.database.write() as session:
            now = datetime.now(UTC)
            session.execute(update(Study).where(Study.study_instance_uid == uid).values(changed_at=now))

    def empty(self) -> None:
        """Move all studies so far back that no list shows them, once nothing more happens to them."""
        self.until_final(*self._sent)
        self._sent.clear()
        with self.database.write() as session:
            session.execute(update(Study).values(first_slice_at=_LONG_AGO, changed_at=_LONG_AGO))


@pytest.fixture(scope="module")
def whole_site(
    tmp_path_factory: pytest.TempPathFactory, fork_server: Forks, wait_until: Wait
) -> Iterator[Site]:
    """One service for a file of tests."""
    with counting_pacs() as pacs:
        site = Site(tmp_path_factory.mktemp("site"), fork_server, pacs, wait_until)
        yield site
        site.database.close()
        fork_server.kill_all()


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The service with an empty list."""
    yield whole_site
    whole_site.hold.unlink(missing_ok=True)
    whole_site.empty()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a file of tests: its library keeps an event loop in this thread while it runs."""
    expect.set_options(timeout=_PATIENCE_MS)
    with chromium() as started:
        yield started


@pytest.fixture
def watches() -> list[Watch]:
    """What each window of a test complains about, in the order in which they were opened."""
    return []


@pytest.fixture
def visitor(browser: Browser, site: Site, watches: list[Watch]) -> Iterator[Open]:
    """Opens a window of a person who is not logged in; whatever goes wrong on its pages fails the test."""
    opened: list[BrowserContext] = []

    def open_window(**looks: object) -> Page:
        context = browser.new_context(base_url=site.url, **looks)  # type: ignore[arg-type]
        opened.append(context)
        watches.append(Watch(context))
        return context.new_page()

    yield open_window
    for context in opened:
        context.close()
    assert [error for watch in watches for error in watch.errors] == []


@pytest.fixture
def person(visitor: Open, site: Site) -> Open:
    """Opens the worklist of a person who has logged in; the log-in itself is done once for each."""

    def open_list(name: str = READER, **looks: object) -> Page:
        page = visitor(storage_state=site.sessions.get(name), **looks)
        if name in site.sessions:
            page.goto("/")
        else:
            log_in(page, name)
            site.sessions[name] = page.context.storage_state()
        return page

    return open_list


def log_in(page: Page, name: str, *, then: str = "/") -> None:
    """Through the form, as people do."""
    page.goto(f"/login?next={then}")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login" not in url)


@pytest.fixture
def page(person: Open) -> Page:
    """The worklist, 1280 pixels wide."""
    return person(viewport={"width": 1280, "height": 800})
