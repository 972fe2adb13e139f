"""One destination: sends what is due over one association, then asks for commitment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from time import monotonic

import structlog
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext

from ..dicom.scu import Link, Peer, Stored, commitment_context, storage_contexts
from ..dicom.uids import fresh_uid
from ..domain.commitment import CommitmentResult
from ..domain.states import DeliveryState
from ..errors import DeliveryError
from ..settings import Destination, Settings
from ..store import deliveries
from ..store.database import Database
from ..store.tables import Delivery

log = structlog.get_logger(__name__)

#: objects sent over one association at most
BATCH = 16
#: how long an answer to a commitment request is awaited on our own association, s; most peers open another
SAME_ASSOCIATION_WAIT_S = 2.0


class Courier:
    """Delivers to one destination, one batch at a time. One thread uses it."""

    def __init__(
        self, settings: Settings, destination: Destination, database: Database, *, worker_id: str, wake: Event
    ) -> None:
        self._destination = destination
        self._policy = settings.delivery
        self._calling = settings.dicom.ae_title
        self._lease_s = settings.worker.dead_after_s
        self._spool: Path = settings.spool.path
        self._database = database
        #: owner of its claims
        self.worker_id = worker_id
        self._wake = wake
        self._log = log.bind(destination=destination.name)
        #: whether it holds claims
        self.working = False

    def deliver_due(self) -> int:
        """Send and ask for one batch of what is due; returns how many deliveries were taken up."""
        self.working = True
        try:
            return self._deliver_due()
        finally:
            self.working = False

    def _deliver_due(self) -> int:
        with self._database.write() as session:
            batch = deliveries.claim_due(
                session,
                self._destination.name,
                worker_id=self.worker_id,
                now=_now(),
                limit=BATCH,
                lease_s=self._lease_s,
            )
        pending = [each for each in batch if each.state == DeliveryState.PENDING]
        unasked = [each for each in batch if each.state == DeliveryState.SENT and not each.transaction_uid]
        overdue = [each for each in batch if each.state == DeliveryState.SENT and each.transaction_uid]
        if not self._destination.commitment and (unasked or overdue):
            self._close([*unasked, *overdue], "the configuration asks for no storage commitment")
            unasked, overdue = [], []
        if overdue:
            self._not_committed(overdue, f"no commitment within {self._policy.commitment_timeout_s:g} s")
        pending = self._without_lost_files(pending)
        if pending or unasked:
            self._associate(pending, unasked)
        return len(batch)

    def next_due_in_s(self) -> float | None:
        """Until the next delivery is due, s; None when nothing waits."""
        now = _now()
        with self._database.read() as session:
            due = deliveries.next_due_at(session, self._destination.name, now=now)
        return None if due is None else (due - now).total_seconds()

    def _associate(self, pending: Sequence[Delivery], unasked: Sequence[Delivery]) -> None:
        answered = Event()
        try:
            with Link(
                Peer.of(self._destination),
                calling=self._calling,
                contexts=self._contexts(pending),
                timeout_s=self._policy.timeout_s,
                on_commitment=self._recorder(answered),
            ) as link:
                stored = [each for each in pending if link.is_open and self._send(link, each)]
                if self._destination.commitment and link.is_open and (stored or unasked):
                    self._ask(link, [*stored, *unasked], answered)
        except DeliveryError as error:
            self._failed(pending, str(error))
            self._not_committed(unasked, str(error))
        with self._database.write() as session:
            deliveries.release(session, self.worker_id)

    def _contexts(self, pending: Sequence[Delivery]) -> list[PresentationContext]:
        kinds = [(each.sop_class_uid, str(ExplicitVRLittleEndian)) for each in pending]
        contexts = storage_contexts(kinds)
        return [*contexts, commitment_context()] if self._destination.commitment else contexts

    def _without_lost_files(self, pending: Sequence[Delivery]) -> list[Delivery]:
        there = [each for each in pending if (self._spool / each.path).is_file()]
        for lost in (each for each in pending if each not in there):
            with self._database.write() as session:
                deliveries.mark_dead(session, lost.id, error="the object is no longer in the outbox")
            self._log.error("delivery_dead", delivery=lost.id, error="the object is no longer in the outbox")
        return there

    def _send(self, link: Link, delivery: Delivery) -> bool:
        """Send one object; whether the destination has it. A broken association counts as its failure."""
        try:
            answer = link.store(self._spool / delivery.path, high_priority=True)
        except DeliveryError as error:
            self._failed([delivery], str(error))
            return False
        if not answer.ok:
            self._failed([delivery], f"refused: {answer}")
            return False
        self._sent(delivery, answer)
        return True

    def _sent(self, delivery: Delivery, answer: Stored) -> None:
        with self._database.write() as session:
            deliveries.mark_sent(
                session,
                delivery.id,
                now=_now(),
                commitment=self._destination.commitment,
                note=f"stored with warning: {answer}" if answer.warning else None,
            )
        self._log.info("delivery_sent", delivery=delivery.id, kind=delivery.kind, status=str(answer))

    def _failed(self, failed: Sequence[Delivery], error: str) -> None:
        ids = [each.id for each in failed]
        with self._database.write() as session:
            dead = deliveries.mark_failed(session, ids, error=error, policy=self._policy, now=_now())
        for each in ids:
            if each in dead:
                self._log.error("delivery_dead", delivery=each, error=error)
            else:
                self._log.warning("delivery_failed", delivery=each, error=error)

    def _close(self, stored: Sequence[Delivery], why: str) -> None:
        ids = [each.id for each in stored]
        with self._database.write() as session:
            deliveries.close_without_commitment(session, ids, why=why)
        self._log.warning("not_to_be_committed", deliveries=ids, reason=why)

    def _ask(self, link: Link, stored: Sequence[Delivery], answered: Event) -> None:
        """Request commitment, and wait a moment for a peer that answers on the same association."""
        ids = [each.id for each in stored]
        if not link.offers_commitment:
            self._close(stored, "destination offers no storage commitment")
            return
        transaction_uid = fresh_uid()
        due = _now() + timedelta(seconds=self._policy.commitment_timeout_s)
        with self._database.write() as session:  # before asking: the answer may come at once, to any process
            deliveries.commitment_requested(session, ids, transaction_uid=transaction_uid, answer_due_at=due)
        try:
            link.request_commitment(
                transaction_uid, [(each.sop_class_uid, each.sop_instance_uid) for each in stored]
            )
        except DeliveryError as error:
            self._not_committed(stored, str(error))
            return
        self._log.info("commitment_requested", deliveries=ids, transaction_uid=transaction_uid)
        deadline = monotonic() + SAME_ASSOCIATION_WAIT_S
        while link.is_open and not self._wake.is_set() and monotonic() < deadline:
            if answered.wait(0.05):
                return

    def _not_committed(self, asked: Sequence[Delivery], error: str) -> None:
        ids = [each.id for each in asked]
        with self._database.write() as session:
            deliveries.commitment_failed(session, ids, error=error, policy=self._policy, now=_now())
        if ids:
            self._log.warning("commitment_failed", deliveries=ids, error=error)

    def _recorder(self, answered: Event) -> Callable[[CommitmentResult], None]:
        def record(result: CommitmentResult) -> None:
            with self._database.write() as session:
                deliveries.commitment_result(session, result, policy=self._policy, now=_now())
            answered.set()

        return record


def _now() -> datetime:
    return datetime.now(UTC)
