"""One PACS: sends what is due over one association, then asks for commitment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event
from time import monotonic

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext

from ..dicom.scu import Link, Peer, Stored, commitment_context, storage_contexts
from ..dicom.uids import fresh_uid
from ..domain.audit import AuditEvent, PeerRecord
from ..domain.commitment import CommitmentResult
from ..domain.states import DeliveryState
from ..errors import DeliveryError
from ..settings import DicomDestination, Settings
from ..store import deliveries
from ..store.database import Database
from ..store.tables import Delivery
from ..telemetry import audit
from .courier import Courier

#: how long an answer to a commitment request is awaited on our own association, s; most peers open another
SAME_ASSOCIATION_WAIT_S = 2.0


class DicomCourier(Courier):
    """Delivers objects to one PACS, one batch for each association."""

    def __init__(
        self,
        settings: Settings,
        destination: DicomDestination,
        database: Database,
        *,
        worker_id: str,
        wake: Event,
    ) -> None:
        super().__init__(settings, destination, database, worker_id=worker_id, wake=wake)
        self._destination = destination
        self._calling = settings.dicom.ae_title

    def _deliver(self, batch: Sequence[Delivery]) -> None:
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
            self._absence.begin()
            self._failed(pending, str(error))
            self._not_committed(unasked, str(error))

    def _contexts(self, pending: Sequence[Delivery]) -> list[PresentationContext]:
        kinds = [(each.sop_class_uid, str(ExplicitVRLittleEndian)) for each in pending]
        contexts = storage_contexts(kinds)
        return [*contexts, commitment_context()] if self._destination.commitment else contexts

    def _send(self, link: Link, delivery: Delivery) -> bool:
        """Send one object; whether the destination has it. A broken association counts as its failure."""
        try:
            answer = link.store(self._spool.local([delivery.path])[0], high_priority=True)
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
            study = session.get_one(Delivery, delivery.id).revision.study.study_instance_uid
        self._absence.forget()
        self._audit(study, delivery.sop_class_uid)
        self._log.info("delivery_sent", delivery=delivery.id, kind=delivery.kind, status=str(answer))

    def _audit(self, study_instance_uid: str, sop_class_uid: str) -> None:
        record = PeerRecord(
            at=_now(),
            event=AuditEvent.INSTANCES_SENT,
            ae_title=self._destination.ae_title,
            address=self._destination.host,
            study_instance_uid=study_instance_uid,
            sop_classes={sop_class_uid: 1},
        )
        audit.tell(record)

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
