"""A radiologist who answers every study and a workstation that reads its step, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom.sop_class import UnifiedProcedureStepPull  # type: ignore[attr-defined]  # made at run time
from sqlalchemy import select
from sqlalchemy.orm import Session

from ich_triage.dicom.scu import Peer
from ich_triage.domain.roles import Role
from ich_triage.domain.step import StepState
from ich_triage.query.events import EventType
from ich_triage.query.status import ALREADY_COMPLETED, SUCCESS
from ich_triage.store.database import Database
from ich_triage.store.tables import Feedback
from ich_triage.store.ups_tables import ProcedureStep
from tests.asking import Watcher, act, asking, change, steps
from tests.peers import probe_port
from tests.web import PASSWORD, add_account, csrf_token

NAME, WORKSTATION, AE_TITLE = "r.blood", "READER", "ICH_TRIAGE"
#: of the global subscription to all steps (PS3.4 section CC.2.3.1)
_ALL_STEPS = "1.2.840.10008.5.1.4.34.5"
_SUBSCRIBE = 3
_PAUSE_S = 0.1
_TABLES = """\
[[peers]]
name = "workstation"
ae_title = "{workstation}"
rights = ["query"]
[[query.subscribers]]
name = "workstation"
host = "127.0.0.1"
port = {port}
ae_title = "{workstation}"
"""


class Readers:
    """Ports of the two processes that they need, and what they have got done."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.web_port, self._query = (
            probe_port(),
            Peer(host="127.0.0.1", port=probe_port(), ae_title=AE_TITLE),
        )
        self._workstation = Watcher(WORKSTATION, probe_port())
        self._browser = httpx.Client(base_url=f"http://127.0.0.1:{self.web_port}", timeout=20.0)
        self._token = ""
        #: of the studies that they are through with
        self.read: set[str] = set()
        self._unlisted: list[str] = []

    @property
    def sections(self) -> dict[str, dict[str, object]]:
        """Of the configuration."""
        query = {"host": "127.0.0.1", "port": self._query.port, "tls_port": 0, "sweep_s": 0.1}
        return {"web": {"port": self.web_port}, "query": query}

    def configure(self, config: Path) -> None:
        """Name the workstation, and add the radiologist."""
        tables = _TABLES.format(workstation=WORKSTATION, port=self._workstation.port)
        config.write_text(config.read_text() + tables)
        add_account(self._database, NAME, Role.RADIOLOGIST)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The workstation, for events."""
        with self._workstation.listening(), self._browser:
            yield

    def begin(self, *, limit_s: float) -> None:
        """Log in, and subscribe to all steps."""
        _until(self._logged_in, limit_s=limit_s)
        _until(self._subscribed, limit_s=limit_s)

    def read_studies(self, uids: Set[str], *, limit_s: float) -> None:
        """Agree with the results that they have not seen yet, and read the steps, until that is taken."""
        for uid in uids - self.read:
            _until(lambda uid=uid: self._answered(uid), limit_s=limit_s)  # type: ignore[misc]
            transaction = generate_uid()
            _until(lambda uid=uid, key=transaction: self._is_read(uid, key), limit_s=limit_s)  # type: ignore[misc]
            self.read.add(uid)

    def unheard(self) -> int:
        """Studies of which the workstation was not told that its own step has ended."""
        done = {step for step, kind, told in self._workstation.events if _is_end(kind, told)}
        with self._database.read() as session:
            return len({step.sop_instance_uid for step in _steps(session)} - done)

    def check(self) -> None:
        """What was acknowledged is kept: each study was on the list, has an answer, and one step, done."""
        with self._database.read() as session:
            # an answer that was repeated, since nobody heard that it was taken, is there twice
            answers = session.scalars(select(Feedback)).all()
            told = {(each.revision.study.study_instance_uid, each.reader, each.agrees) for each in answers}
            of_steps = [(each.study.study_instance_uid, each.state) for each in _steps(session)]
        assert told == {(uid, NAME, True) for uid in self.read}
        assert sorted(of_steps) == sorted((uid, StepState.COMPLETED) for uid in self.read)
        assert self._unlisted == []

    def _logged_in(self) -> bool:
        self._browser.post("/login", data={"name": NAME, "password": PASSWORD})
        page = self._browser.get("/account")
        if page.status_code == httpx.codes.OK:
            self._token = csrf_token(page.text)
        return bool(self._token)

    def _answered(self, uid: str) -> bool:
        listed = self._browser.get("/api/v1/worklist", params={"limit": 500})
        shown = self._browser.get(f"/api/v1/studies/{uid}")
        if not (listed.is_success and shown.is_success):
            return False
        if uid not in {each["study_instance_uid"] for each in listed.json()["studies"]}:
            self._unlisted.append(uid)
        answer = {"agrees": True, "revision": shown.json()["revision"]}
        headers = {"X-CSRF-Token": self._token}
        said = self._browser.post(f"/api/v1/studies/{uid}/feedback", json=answer, headers=headers)
        return said.is_success

    def _subscribed(self) -> bool:
        with asking(self._query.port, UnifiedProcedureStepPull, calling=WORKSTATION, called=AE_TITLE) as link:
            told = act(link, _SUBSCRIBE, _ALL_STEPS, ReceivingAE=WORKSTATION, DeletionLock="FALSE")
            return told == SUCCESS

    def _is_read(self, uid: str, transaction: str) -> bool:
        with asking(self._query.port, UnifiedProcedureStepPull, calling=WORKSTATION, called=AE_TITLE) as link:
            of_study = steps(link, StudyInstanceUID=uid)
            if not of_study:
                return False
            (step,) = (str(each.SOPInstanceUID) for each in of_study)
            change(link, step, StepState.IN_PROGRESS, transaction)  # it may be ours already, or done
            return change(link, step, StepState.COMPLETED, transaction) in (SUCCESS, ALREADY_COMPLETED)


def _steps(session: Session) -> Sequence[ProcedureStep]:
    return session.scalars(select(ProcedureStep)).all()


def _is_end(kind: int, told: Dataset) -> bool:
    return kind == EventType.STATE_REPORT and told.ProcedureStepState == StepState.COMPLETED


def _until(done: Callable[[], bool], *, limit_s: float) -> None:
    deadline = monotonic() + limit_s
    while True:
        try:
            if done():
                return
        # who does not answer is dead for a moment, or cut off in the middle
        except (httpx.TransportError, AttributeError, AssertionError, RuntimeError, ValueError):
            pass
        if monotonic() > deadline:
            raise AssertionError(f"not answered in {limit_s} s")
        sleep(_PAUSE_S)
