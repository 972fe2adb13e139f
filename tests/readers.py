"""A radiologist who answers every study and a workstation that reads its step, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

import httpx
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    UnifiedProcedureStepPull,
    UPSGlobalSubscriptionInstance,
)
from sqlalchemy import select

from ich_triage.domain.roles import Role
from ich_triage.domain.states import StudyState
from ich_triage.domain.step import StepState
from ich_triage.query.events import EventType
from ich_triage.query.status import ALREADY_COMPLETED, SUCCESS
from ich_triage.query.step_actions import Action
from ich_triage.store.database import Database
from ich_triage.store.tables import Feedback
from ich_triage.store.ups_tables import ProcedureStep
from tests.asking import Watcher, act, asking, change, steps
from tests.peers import probe_port
from tests.web import PASSWORD, add_account, csrf_token

Said = TypeVar("Said")

NAME, WORKSTATION, AE_TITLE = "r.blood", "READER", "ICH_TRIAGE"
#: how long they try one thing, s
_LIMIT_S = 900.0
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
        self._web_port, self._query_port = probe_port(), probe_port()
        self._workstation = Watcher(WORKSTATION, probe_port())
        self._browser = httpx.Client(base_url=f"http://127.0.0.1:{self._web_port}", timeout=20.0)
        self._token = ""
        #: Study Instance UID of those that they are through with → SOP Instance UID of the step
        self.read: dict[str, str] = {}
        #: Study Instance UID of those of which there is a result to answer
        self._answerable: set[str] = set()
        self._unlisted: list[str] = []

    @property
    def sections(self) -> dict[str, dict[str, object]]:
        """Of the configuration."""
        query = {"host": "127.0.0.1", "port": self._query_port, "tls_port": 0, "sweep_s": 0.1}
        return {"web": {"port": self._web_port}, "query": query}

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

    def begin(self) -> None:
        """Log in, and subscribe to all steps."""
        _until(self._logged_in)
        _until(self._subscribed)

    def read_studies(self, uids: Set[str]) -> None:
        """Agree with the results that they have not seen yet, and read the steps, until that is taken."""
        for uid in uids - self.read.keys():
            _until(partial(self._answered, uid))
            self.read[uid] = _until(partial(self._read_step, uid, transaction=generate_uid()))

    def unheard(self) -> int:
        """Studies of which the workstation was not told that its own step has ended."""
        return len(
            set(self.read.values()) - {step for step, *told in self._workstation.events if _is_end(*told)}
        )

    def check(self) -> None:
        """What was acknowledged is kept: each study was on the list, each result has an answer, and each
        study one step, done."""
        with self._database.read() as session:
            # an answer that was repeated, since nobody heard that it was taken, is there twice
            answers = session.scalars(select(Feedback)).all()
            told = {(each.revision.study.study_instance_uid, each.reader, each.agrees) for each in answers}
            of_steps = [
                (each.study.study_instance_uid, each.state) for each in session.scalars(select(ProcedureStep))
            ]
        assert told == {(uid, NAME, True) for uid in self._answerable}
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
        if shown.json()["state"] == StudyState.NOT_ANALYSED:
            return True
        self._answerable.add(uid)
        answer = {"agrees": True, "revision": shown.json()["revision"]}
        headers = {"X-CSRF-Token": self._token}
        said = self._browser.post(f"/api/v1/studies/{uid}/feedback", json=answer, headers=headers)
        return said.is_success

    def _subscribed(self) -> bool:
        with self._asking() as link:
            wanted = {"ReceivingAE": WORKSTATION, "DeletionLock": "FALSE"}
            return act(link, Action.SUBSCRIBE, UPSGlobalSubscriptionInstance, **wanted) == SUCCESS

    def _read_step(self, uid: str, *, transaction: str) -> str:
        """The UID of the study's only step, once it is completed; empty before."""
        with self._asking() as link:
            of_study = [str(each.SOPInstanceUID) for each in steps(link, StudyInstanceUID=uid)]
            if not of_study:
                return ""
            (step,) = of_study
            change(link, step, StepState.IN_PROGRESS, transaction)  # it may be ours already, or done
            done = change(link, step, StepState.COMPLETED, transaction) in (SUCCESS, ALREADY_COMPLETED)
            return step if done else ""

    def _asking(self) -> AbstractContextManager[Association]:
        return asking(self._query_port, UnifiedProcedureStepPull, calling=WORKSTATION, called=AE_TITLE)


def _is_end(kind: int, told: Dataset) -> bool:
    return kind == EventType.STATE_REPORT and told.ProcedureStepState == StepState.COMPLETED


def _until(done: Callable[[], Said]) -> Said:
    """What it says at last. Raises AssertionError with what was in the way."""
    deadline = monotonic() + _LIMIT_S
    while True:
        last: Exception | None = None
        try:
            if said := done():
                return said
        # who does not answer is dead for a moment, or cut off in the middle
        except (httpx.TransportError, AttributeError, AssertionError, RuntimeError, ValueError) as error:
            last = error
        if monotonic() > deadline:
            raise AssertionError(f"not answered in {_LIMIT_S} s") from last
        sleep(_PAUSE_S)
