"""Results travel: one thread for each destination, so that a slow one delays no other.

Within a destination, flagged studies go first, then older revisions before newer ones. An older report
that fails does not hold back the newer one, which is what the radiologist needs: it names the older one
in Predecessor Documents Sequence whether or not that has arrived. Of messages, which name no older one, the
older is then not sent at all (`deliveries.supersede`).
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic

import structlog

from ..clock import Steps
from ..settings import Destination, DicomDestination, Settings
from ..store import deliveries
from ..store.database import Database
from .commitments import CommitmentReporter
from .courier import Courier
from .dicom_courier import DicomCourier
from .message_courier import MessageCourier

log = structlog.get_logger(__name__)

#: how often work is looked for that another process has made due, s
POLL_S = 1.0
#: how long a stop waits for batches under way, s
_PATIENCE_S = 8.0


class Deliverer:
    """The couriers of one process. `start` and `stop` once; `wake` from any thread."""

    def __init__(self, settings: Settings, database: Database) -> None:
        process = uuid.uuid4().hex[:16]
        self._settings = settings
        self._database = database
        self._lease_s = settings.worker.dead_after_s
        self._stopping = Event()
        self._ended = Event()
        self._wakes = {destination.name: Event() for destination in settings.destinations}
        self._couriers: dict[str, Courier] = {
            destination.name: self._courier(destination, worker_id=f"{process}:{destination.name}")
            for destination in settings.destinations
        }
        self._threads: list[Thread] = []
        self._commitments = CommitmentReporter(settings, database)

    def start(self) -> None:
        """Begin to deliver; what waits for a destination that is gone from the configuration is ended."""
        with self._database.write() as session:
            ended = deliveries.give_up_elsewhere(session, self._couriers)
        if ended:
            log.error("deliveries_without_destination", deliveries=ended)
        for name in self._couriers:
            self._threads.append(Thread(target=self._run, args=(name,), name=f"deliver-{name}", daemon=True))
        for thread in self._threads:
            thread.start()
        Thread(target=self._keep_claims, name="deliver-claims", daemon=True).start()
        self._commitments.start()

    def wake(self) -> None:
        """There may be something due now."""
        for wake in self._wakes.values():
            wake.set()

    def stop_soon(self) -> None:
        """Begin no further batch."""
        self._stopping.set()
        self._commitments.stop_soon()
        self.wake()

    def stop(self) -> None:
        """Finish the batches under way, for a while; what is not confirmed then is sent again."""
        self.stop_soon()
        deadline = monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        self._commitments.stop()
        self._ended.set()

    def _courier(self, destination: Destination, *, worker_id: str) -> Courier:
        wake = self._wakes[destination.name]
        if isinstance(destination, DicomDestination):
            return DicomCourier(self._settings, destination, self._database, worker_id=worker_id, wake=wake)
        return MessageCourier(self._settings, destination, self._database, worker_id=worker_id, wake=wake)

    def _run(self, name: str) -> None:
        courier, wake = self._couriers[name], self._wakes[name]
        while not self._stopping.is_set():
            wake.clear()
            # broad, since this is the boundary of the thread: whatever goes wrong with one batch (the
            # database is away, a peer breaks the library), later batches must still be tried
            try:
                courier.look_for_destination()
                due_in_s = courier.next_due_in_s()
                if due_in_s is not None and due_in_s <= 0:
                    if courier.deliver_due():
                        continue
                    due_in_s = None  # it waits for what another worker is about to send
            except Exception as error:  # noqa: BLE001
                log.error("courier_failed", destination=name, error=type(error).__name__)
                due_in_s = None
            wake.wait(POLL_S if due_in_s is None else min(due_in_s, POLL_S))

    def _keep_claims(self) -> None:
        """Renew the claims of couriers at work, however long a peer takes; others run out."""
        steps, set_back = Steps(), False
        while not self._ended.wait(self._lease_s / 3):
            working = [courier.worker_id for courier in self._couriers.values() if courier.working]
            set_back = steps.look() < 0 or set_back
            if not (working or set_back):
                continue
            now = datetime.now(UTC)
            until = now + timedelta(seconds=self._lease_s)
            # broad, since this is the boundary of the thread: a claim that cannot be renewed now may be later
            try:
                with self._database.write() as session:
                    if set_back:
                        deliveries.bring_forward(session, now=now, until=until)
                    deliveries.renew(session, working, until=until)
                set_back = False
            except Exception as error:  # noqa: BLE001
                log.error("claims_not_renewed", error=type(error).__name__)
