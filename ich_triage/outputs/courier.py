"""What the couriers of all kinds share: claim what is due, hand it to the kind's own way, note failures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Event

import structlog

from ..domain.states import OutputKind
from ..settings import Destination, Settings
from ..storage.files import files_of
from ..store import deliveries
from ..store.database import Database
from ..store.tables import Delivery
from .absence import Absence

log = structlog.get_logger(__name__)

#: deliveries taken up at once at most
BATCH = 16
#: what each kind of destination takes
_TAKES = {
    "dicom": frozenset({OutputKind.SR, OutputKind.CAPTURE}),
    "mllp": frozenset({OutputKind.HL7}),
    "webhook": frozenset({OutputKind.WEBHOOK}),
}


class Courier(ABC):
    """Delivers to one destination, one batch at a time. One thread uses it."""

    def __init__(
        self, settings: Settings, destination: Destination, database: Database, *, worker_id: str, wake: Event
    ) -> None:
        self._name = destination.name
        self._kind = destination.kind
        self._policy = settings.delivery
        self._lease_s = settings.worker.dead_after_s
        self._spool = files_of(settings.spool)
        self._database = database
        #: owner of its claims
        self.worker_id = worker_id
        self._wake = wake
        self._log = log.bind(destination=destination.name)
        self._absence = Absence(*destination.address)
        #: whether it holds claims
        self.working = False

    def look_for_destination(self) -> None:
        """Where it could not be reached and now can be, what has failed is due at once."""
        if not self._absence.is_over():
            return
        with self._database.write() as session:
            again = deliveries.due_again(session, self._name, now=_now())
        self._absence.end()
        if again:
            self._log.info("destination_is_back", deliveries=again)

    def deliver_due(self) -> int:
        """Send one batch of what is due; returns how many deliveries were taken up."""
        self.working = True
        try:
            batch = self._claim()
            self._deliver(self._without_foreign(batch))
            with self._database.write() as session:
                deliveries.release(session, self.worker_id)
            return len(batch)
        finally:
            self.working = False

    def next_due_in_s(self) -> float | None:
        """Until the next delivery is due, s; None when nothing waits."""
        now = _now()
        with self._database.read() as session:
            due = deliveries.next_due_at(session, self._name, now=now)
        return None if due is None else (due - now).total_seconds()

    @abstractmethod
    def _deliver(self, batch: Sequence[Delivery]) -> None:
        """Do what is due for each, and note what became of it; claims are released afterwards."""

    def _claim(self) -> Sequence[Delivery]:
        with self._database.write() as session:
            return deliveries.claim_due(
                session,
                self._name,
                worker_id=self.worker_id,
                now=_now(),
                limit=BATCH,
                lease_s=self._lease_s,
            )

    def _without_foreign(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """End what was planned when the destination of this name was of another kind."""
        own = [each for each in batch if each.kind in _TAKES[self._kind]]
        for foreign in (each for each in batch if each not in own):
            self._dead(foreign, f"destination {self._name} is of kind {self._kind} now, which takes no such")
        return own

    def _without_lost_files(self, pending: Sequence[Delivery]) -> list[Delivery]:
        there = [each for each in pending if self._spool.exists(each.path)]
        for lost in (each for each in pending if each not in there):
            self._dead(lost, "the object is no longer in the outbox")
        return there

    def _dead(self, delivery: Delivery, error: str, *, words: str = "") -> None:
        """Nothing can come of another attempt; `words` are the peer's own, kept out of the log."""
        with self._database.write() as session:
            deliveries.mark_dead(session, delivery.id, error=_joined(error, words))
        self._log.error("delivery_dead", delivery=delivery.id, error=error)

    def _failed(
        self, failed: Sequence[Delivery], error: str, *, words: str = "", wait_s: float = 0.0
    ) -> None:
        """To be tried again, not before `wait_s`; `words` are the peer's own, kept out of the log."""
        ids = [each.id for each in failed]
        with self._database.write() as session:
            dead = deliveries.mark_failed(
                session, ids, error=_joined(error, words), policy=self._policy, now=_now(), wait_s=wait_s
            )
        for each in ids:
            if each in dead:
                self._log.error("delivery_dead", delivery=each, error=error)
            else:
                self._log.warning("delivery_failed", delivery=each, error=error)


def _joined(error: str, words: str) -> str:
    return f"{error}: {words}" if words else error


def _now() -> datetime:
    return datetime.now(UTC)
