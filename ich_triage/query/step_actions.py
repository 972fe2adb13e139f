"""What readers do with procedure steps: N-ACTION and N-SET of UPS (PS3.4 Annex CC).

Every change and the events about it are written in one transaction, before the peer has its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import IntEnum

import structlog
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from ..domain.step import FINAL_STEP_STATES, StepState
from ..domain.uid import is_uid
from ..errors import QueryError
from ..store import ups, ups_events
from ..store.database import Database
from ..store.ups_tables import ProcedureStep
from .events import EventType, cancel_requested, progress_report, reasons_of, state_report
from .keys import value_of
from .performed import finished, set_by_reader
from .status import (
    ALREADY_CANCELED,
    ALREADY_COMPLETED,
    ALREADY_IN_PROGRESS,
    ATTRIBUTES_UNSUPPORTED,
    COMPLETED_ALREADY,
    INVALID_ARGUMENT,
    NO_LONGER_UPDATED,
    NO_SUCH_STEP,
    NOBODY_TO_TELL,
    NOT_BY_ACTION,
    NOT_IN_PROGRESS,
    RESOURCE_LIMITATION,
    SUCCESS,
    WRONG_TRANSACTION,
)

log = structlog.get_logger(__name__)

#: longest text that is kept of what a reader sets of one step
PERFORMED_LIMIT = 1 << 16


class Action(IntEnum):
    """Action Type ID (PS3.4 Table CC.2.1-1, CC.2.2-1 and CC.2.3-1)."""

    #: Change UPS State
    CHANGE_STATE = 1
    #: Request UPS Cancel
    REQUEST_CANCEL = 2
    #: Subscribe to Receive UPS Event Reports
    SUBSCRIBE = 3
    #: Unsubscribe from Receiving UPS Event Reports
    UNSUBSCRIBE = 4
    #: Suspend Global Subscription
    SUSPEND_GLOBAL = 5


#: state asked for → state of the step → why not (PS3.4 Table CC.1.1-2, with the right Transaction UID)
_REFUSALS: Mapping[StepState, Mapping[StepState, int]] = {
    StepState.IN_PROGRESS: {
        StepState.IN_PROGRESS: ALREADY_IN_PROGRESS,
        StepState.COMPLETED: NO_LONGER_UPDATED,
        StepState.CANCELED: NO_LONGER_UPDATED,
    },
    StepState.COMPLETED: {
        StepState.SCHEDULED: NOT_IN_PROGRESS,
        StepState.COMPLETED: ALREADY_COMPLETED,
        StepState.CANCELED: NO_LONGER_UPDATED,
    },
    StepState.CANCELED: {
        StepState.SCHEDULED: NOT_IN_PROGRESS,
        StepState.COMPLETED: NO_LONGER_UPDATED,
        StepState.CANCELED: ALREADY_CANCELED,
    },
}

_WORDS: Mapping[int, str] = {
    ALREADY_IN_PROGRESS: "another reader has claimed this step",
    NO_LONGER_UPDATED: "this step has ended",
    NOT_IN_PROGRESS: "nobody has claimed this step",
    COMPLETED_ALREADY: "this step is completed already",
    ALREADY_COMPLETED: "this step is completed already",
    ALREADY_CANCELED: "this step is canceled already",
}


class StepActions:
    """Changes of procedure steps. Each raises QueryError with the status that the peer is given."""

    def __init__(self, database: Database, *, on_event: Callable[[], None]) -> None:
        self._database = database
        self._on_event = on_event

    def change_state(self, uid: str, information: Dataset, calling: str) -> int:
        """Claim a step, or end it."""
        try:
            wanted = StepState(value_of(information, "ProcedureStepState"))
        except ValueError as error:
            raise QueryError(INVALID_ARGUMENT, "ProcedureStepState is none that a step can have") from error
        if wanted is StepState.SCHEDULED:
            raise QueryError(NOT_BY_ACTION, "a step becomes SCHEDULED by triage alone")
        transaction = value_of(information, "TransactionUID")
        if not is_uid(transaction):
            raise QueryError(WRONG_TRANSACTION, "TransactionUID is missing or no UID")
        change = self._claim if wanted is StepState.IN_PROGRESS else self._end
        with self._database.write() as session:
            step = change(session, uid, wanted, transaction, calling)
            self._publish(session, step)
        log.info("step_changed", step=uid, state=wanted.value, by=calling)
        self._on_event()
        return SUCCESS

    def _claim(
        self, session: Session, uid: str, wanted: StepState, transaction: str, calling: str
    ) -> ProcedureStep:
        if not ups.claim(session, uid, transaction_uid=transaction, performer=calling, now=_now()):
            raise _refusal(wanted, _existing(session, uid))
        return _existing(session, uid)

    def _end(
        self, session: Session, uid: str, wanted: StepState, transaction: str, calling: str
    ) -> ProcedureStep:
        step = _existing(session, uid, lock=True)
        if step.state != StepState.SCHEDULED and step.transaction_uid != transaction:
            raise QueryError(WRONG_TRANSACTION, "this is not the TransactionUID of the reader who claimed it")
        if step.state != StepState.IN_PROGRESS:
            raise _refusal(wanted, step)
        now = _now()
        ups.end(session, step, wanted, performed=finished(step, wanted, now=now), now=now)
        return _existing(session, uid)

    def request_cancel(self, uid: str, information: Dataset, calling: str) -> int:
        """Cancel a step that nobody reads yet; ask the reader of one that is read."""
        reasons = reasons_of(information)
        with self._database.write() as session:
            step = _existing(session, uid, lock=True)
            if step.state in FINAL_STEP_STATES:
                code = COMPLETED_ALREADY if step.state == StepState.COMPLETED else ALREADY_CANCELED
                raise QueryError(code, _WORDS[code])
            if step.state == StepState.SCHEDULED:
                self._cancel(session, step, reasons, calling)
            else:
                told = cancel_requested(calling, reasons)
                kind = EventType.CANCEL_REQUESTED
                if not ups_events.publish(session, step, kind, told, now=_now()):
                    raise QueryError(NOBODY_TO_TELL, "nobody is subscribed to this step")
        log.info("step_cancel_requested", step=uid, by=calling)
        self._on_event()
        return SUCCESS

    def _cancel(
        self, session: Session, step: ProcedureStep, reasons: dict[str, object], calling: str
    ) -> None:
        """First to IN PROGRESS, then to CANCELED, as PS3.4 section CC.2.2.3 has it."""
        now, uid = _now(), step.sop_instance_uid
        ups.claim(session, uid, transaction_uid=ups.NOBODY, performer=calling, now=now)
        step = _existing(session, uid)
        self._publish(session, step)
        performed = finished(step, StepState.CANCELED, now=now, reasons=reasons)
        ups.end(session, step, StepState.CANCELED, performed=performed, now=now)
        self._publish(session, _existing(session, uid), reasons)

    def set(self, uid: str, modifications: Dataset) -> int:
        """Take what the reader says of how far it is, or of what it did."""
        transaction = value_of(modifications, "TransactionUID")
        performed, others = set_by_reader(modifications)
        with self._database.write() as session:
            step = _existing(session, uid, lock=True)
            if step.state in FINAL_STEP_STATES:
                raise _refusal(StepState.IN_PROGRESS, step)
            if step.state == StepState.SCHEDULED:
                raise _refusal(StepState.COMPLETED, step)
            if not transaction or step.transaction_uid != transaction:
                raise QueryError(WRONG_TRANSACTION, "this is not the TransactionUID of the reader")
            step.performed = (step.performed or {}) | performed
            if len(json.dumps(step.performed)) > PERFORMED_LIMIT:
                raise QueryError(RESOURCE_LIMITATION, f"more than {PERFORMED_LIMIT} characters")
            step.changed_at = _now()
            if _PROGRESS in performed:
                kind, told = EventType.PROGRESS_REPORT, progress_report(performed)
                ups_events.publish(session, step, kind, told, now=_now())
        self._on_event()
        return ATTRIBUTES_UNSUPPORTED if others else SUCCESS

    def study_of(self, uid: str) -> str | None:
        """Study Instance UID of a step; None where there is no such step."""
        with self._database.read() as session:
            step = ups.find(session, uid)
            return step.study.study_instance_uid if step else None

    def _publish(
        self, session: Session, step: ProcedureStep, reasons: dict[str, object] | None = None
    ) -> None:
        report = state_report(step, reasons)
        ups_events.publish(session, step, EventType.STATE_REPORT, report, now=_now())


_PROGRESS = "00741002"


def _existing(session: Session, uid: str, *, lock: bool = False) -> ProcedureStep:
    step = ups.find(session, uid, lock=lock)
    if step is None:
        raise QueryError(NO_SUCH_STEP, "there is no such procedure step here")
    return step


def _refusal(wanted: StepState, step: ProcedureStep) -> QueryError:
    code = _REFUSALS[wanted][StepState(step.state)]
    return QueryError(code, _WORDS[code])


def _now() -> datetime:
    return datetime.now(UTC)
