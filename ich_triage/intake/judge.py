"""Judges what is held of what peers ask us to commit to, and tells those whose association is still open.

One thread. Requests that came over this receiver's associations are at hand; those that a receiver has left
behind, and those whose verdict has grown old before a worker could tell it, are found in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic
from typing import cast

import structlog
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)
from sqlalchemy.orm import Session

from ..dicom.commitment import event_information
from ..dicom.messages import BoundedProvider
from ..dicom.return_address import return_address
from ..dicom.transport import association_number
from ..domain.commitment import Verdict
from ..settings import Settings
from ..store import commitments
from ..store.commitment_tables import Commitment
from ..store.database import Database
from .held import judge
from .spool import Spool

log = structlog.get_logger(__name__)

#: how long a request is left to the receiver that was asked, unless that says again that it has it, s
HOLD_S = 30.0
#: how long a peer is given to leave, as many do at once, before it is told on its own association, s
GRACE_S = 0.3
#: how often requests are looked for that nobody has at hand, s
POLL_S = 2.0
_BATCH = 20
#: Status of an answer that says that the result was taken (PS3.7 Annex C)
_SUCCESS = 0x0000


@dataclass(frozen=True, kw_only=True)
class _AtHand:
    """A request whose association may still be open."""

    #: row id
    row: int
    #: our own number of the association
    number: int
    #: the association
    association: Association
    #: presentation context id of the request
    context_id: int
    #: transfer syntax of that context: implicit VR, little endian
    encoding: tuple[bool, bool]
    #: not to be told before then, as `monotonic` has it
    not_before: float


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What became of a result on the association that asked."""

    #: row id
    row: int
    #: whether the peer has it
    told: bool


class Judge:
    """`start` and `stop` once; `put` and `ended` from any thread."""

    def __init__(self, settings: Settings, spool: Spool, database: Database) -> None:
        self._settings = settings
        self._limit = timedelta(hours=settings.dicom.commitment_limit_h)
        self._spool = spool
        self._database = database
        self._queue: SimpleQueue[_AtHand | _Outcome | None] = SimpleQueue()
        self._numbers = count(1)
        self._lock = Lock()
        self._at_hand: set[int] = set()
        #: association number and message id → row of a result whose answer is awaited
        self._awaited: dict[tuple[int, int], int] = {}
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="judge", daemon=True)

    def start(self) -> None:
        """Begin to judge."""
        self._thread.start()

    def stop(self, *, patience_s: float) -> None:
        """End after what is under way; the rest is found by whoever comes next."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(patience_s)

    def put(self, row: int, event: evt.Event) -> None:
        """A request has come over an association; never waits."""
        number, context = association_number(event), event.context
        syntax = event.assoc._accepted_cx[context.context_id].transfer_syntax[0]
        cast(BoundedProvider, event.assoc.dimse).on_answer = partial(self._answered, number)
        at_hand = _AtHand(
            row=row,
            number=number,
            association=event.assoc,
            context_id=context.context_id,
            encoding=(syntax.is_implicit_VR, syntax.is_little_endian),
            not_before=monotonic() + GRACE_S,
        )
        with self._lock:
            self._at_hand.add(row)
        self._queue.put(at_hand)

    def ended(self, number: int) -> None:
        """An association is over: nobody will answer on it any more."""
        with self._lock:
            gone = [key for key in self._awaited if key[0] == number]
            rows = [self._awaited.pop(key) for key in gone]
        for row in rows:
            self._queue.put(_Outcome(row=row, told=False))

    def _answered(self, number: int, answer: N_EVENT_REPORT) -> None:
        with self._lock:
            row = self._awaited.pop((number, answer.MessageIDBeingRespondedTo or 0), None)
        if row is not None:  # else nobody has asked
            self._queue.put(_Outcome(row=row, told=answer.Status == _SUCCESS))

    def _run(self) -> None:
        swept_at = -POLL_S
        while not self._stopping.is_set():
            # broad, since this is the boundary of the thread: whatever goes wrong with one request (database
            # or spool are away), it is due again after a while, and others must be judged
            try:
                with suppress(Empty):
                    self._take(self._queue.get(timeout=POLL_S))
                if monotonic() - swept_at >= POLL_S:
                    swept_at = monotonic()
                    self._sweep()
            except Exception as error:  # noqa: BLE001
                log.error("commitment_not_judged", error=type(error).__name__)
                self._stopping.wait(POLL_S)

    def _take(self, news: _AtHand | _Outcome | None) -> None:
        if isinstance(news, _Outcome):
            with self._database.write() as session:
                row = session.get(Commitment, news.row)
                if row is not None and news.told:
                    commitments.drop(session, row.id)
                    log.info("commitment_told", transaction_uid=row.transaction_uid)
                elif row is not None:
                    self._leave(session, row)
        elif news is not None and not self._stopping.wait(max(0.0, news.not_before - monotonic())):
            try:
                self._judge_at_hand(news)
            finally:
                with self._lock:
                    self._at_hand.discard(news.row)

    def _judge_at_hand(self, asked: _AtHand) -> None:
        with self._database.read() as session:
            row = session.get(Commitment, asked.row)
        if row is None:
            return
        found = judge(self._spool, self._database, commitments.asked(row))
        is_open = asked.association.is_established
        with self._database.write() as session:
            held_until = _now() + timedelta(seconds=HOLD_S)
            commitments.judged(session, row.id, found, now=_now(), not_before=held_until)
            if not is_open:
                self._leave(session, row)
        _log_judged(row, found)
        if is_open:
            self._send(asked, row.transaction_uid, found)

    def _send(self, asked: _AtHand, transaction_uid: str, found: Sequence[Verdict]) -> None:
        """N-EVENT-REPORT on the association that asked; the answer comes by itself."""
        event_type, information = event_information(transaction_uid, found)
        report = N_EVENT_REPORT()
        report.MessageID = next(self._numbers) % 0xFFFF + 1
        report.AffectedSOPClassUID = StorageCommitmentPushModel
        report.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
        report.EventTypeID = event_type
        report.EventInformation = BytesIO(encode(information, *asked.encoding) or b"")
        with self._lock:
            self._awaited[asked.number, report.MessageID] = asked.row
        asked.association.dimse.send_msg(report, asked.context_id)
        if not asked.association.is_established:  # it may have ended before the answer was awaited
            self.ended(asked.number)

    def _leave(self, session: Session, row: Commitment) -> None:
        """To a worker; without an address the peer cannot be told, and has to ask again."""
        if return_address(self._settings, row.ae_title, row.address) is not None:
            commitments.due_now(session, row.id, _now())
            return
        commitments.drop(session, row.id)
        log.warning(
            "commitment_nowhere_to_tell",
            transaction_uid=row.transaction_uid,
            ae_title=row.ae_title,
            reason="its association is over, and no table of [[peers]] gives its port",
        )

    def _sweep(self) -> None:
        """What another receiver, or this one before a restart, has left; and what grew too old."""
        now = _now()
        with self._lock:
            at_hand = set(self._at_hand)
        with self._database.read() as session:
            if not (at_hand or commitments.is_work(session, now=now, given_up_before=now - self._limit)):
                return
        with self._database.write() as session:
            commitments.hold(session, at_hand, until=now + timedelta(seconds=HOLD_S))
            for row in commitments.give_up(session, before=now - self._limit):
                _log_given_up(row)
            until = now + timedelta(seconds=HOLD_S)
            rows = commitments.to_judge(session, now=now, until=until, limit=_BATCH)
        for row in rows:
            found = judge(self._spool, self._database, commitments.asked(row))
            with self._database.write() as session:
                commitments.judged(session, row.id, found, now=_now(), not_before=_now())
                self._leave(session, row)
            _log_judged(row, found)


def _log_judged(row: Commitment, found: Sequence[Verdict]) -> None:
    failed = sum(each.reason is not None for each in found)
    uid, committed = row.transaction_uid, len(found) - failed
    log.info("commitment_judged", transaction_uid=uid, committed=committed, failed=failed)


def _log_given_up(row: Commitment) -> None:
    uid, peer, why = row.transaction_uid, row.ae_title, row.last_error
    log.error("commitment_given_up", transaction_uid=uid, ae_title=peer, attempts=row.attempts, error=why)


def _now() -> datetime:
    return datetime.now(UTC)
