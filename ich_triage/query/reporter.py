"""Tells subscribers: one thread for each, so that a slow one delays no other.

An event is a row until its receiver has answered, so that nothing is lost when we or they stop for a while.
Events of one receiver go out in the order in which they happened.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic

import structlog

from ..dicom.scu import Link, Peer, event_context
from ..errors import DeliveryError, DeliveryRefusedError
from ..settings import Settings, Subscriber
from ..store import ups_events
from ..store.database import Database
from ..store.ups_tables import StepEvent
from .model_json import from_json

log = structlog.get_logger(__name__)

#: events sent over one association at most
BATCH = 50
#: how often events are looked for that another process has made due, or that are due again, s
POLL_S = 1.0
#: how long a stop waits for batches under way, s
_PATIENCE_S = 8.0


class Reporter:
    """The threads that tell subscribers. `start` and `stop` once; `wake` from any thread."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._policy = settings.delivery
        self._calling = settings.query.ae_title
        self._lease = timedelta(seconds=2 * settings.delivery.timeout_s)
        self._database = database
        self._owner = uuid.uuid4().hex
        self._stopping = Event()
        self._wakes = {each.ae_title: Event() for each in settings.query.subscribers}
        self._threads = [
            Thread(target=self._run, args=(each,), name=f"events-{each.name}", daemon=True)
            for each in settings.query.subscribers
        ]

    def start(self) -> None:
        """Begin to tell."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be something to tell."""
        for wake in self._wakes.values():
            wake.set()

    def drop_unknown(self) -> None:
        """Forget events for who has left the configuration; subscriptions stay, should it come back."""
        with self._database.read() as session:
            if not ups_events.has_unknown(session, self._wakes):
                return
        with self._database.write() as session:
            dropped = ups_events.drop_unknown(session, self._wakes)
        log.warning("events_without_subscriber", events=dropped)

    def stop(self) -> None:
        """Finish the batches under way, for a while; what is not confirmed then is told again."""
        self._stopping.set()
        self.wake()
        deadline = monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _run(self, subscriber: Subscriber) -> None:
        wake = self._wakes[subscriber.ae_title]
        while not self._stopping.is_set():
            wake.clear()
            # broad, since this is the boundary of the thread: whatever goes wrong with one batch (the
            # database is away, a peer breaks the library), later batches must still be tried
            try:
                if self._tell_due(subscriber):
                    continue
            except Exception as error:  # noqa: BLE001
                log.error("events_failed", subscriber=subscriber.name, error=type(error).__name__)
            wake.wait(POLL_S)

    def _tell_due(self, subscriber: Subscriber) -> int:
        """One batch; returns how many arrived."""
        with self._database.read() as session:
            if not ups_events.is_due(session, subscriber.ae_title, _now()):
                return 0
        owner = f"{self._owner}:{subscriber.name}"[:64]
        with self._database.write() as session:
            batch = ups_events.claim_due(
                session,
                subscriber.ae_title,
                owner=owner,
                now=_now(),
                limit=BATCH,
                lease=self._lease,
            )
        told: list[int] = []
        try:
            if batch:
                self._tell(subscriber, batch, told)
        except DeliveryError as error:
            self._failed(subscriber, [each.id for each in batch if each.id not in told], str(error))
        if len(told) < len(batch):
            with self._database.write() as session:
                ups_events.release(session, owner)
        return len(told)

    def _tell(self, subscriber: Subscriber, batch: Sequence[StepEvent], told: list[int]) -> None:
        """Over one association; done with one by one are those that arrived, or never will.

        Raises DeliveryError.
        """
        with Link(
            Peer.of(subscriber),
            calling=self._calling,
            contexts=[event_context()],
            timeout_s=self._policy.timeout_s,
        ) as link:
            for event in batch:
                if self._stopping.is_set():
                    break
                try:
                    link.report(event.event_type, from_json(event.information), step=event.sop_instance_uid)
                except DeliveryRefusedError as error:  # the next one may be taken
                    log.error(
                        "event_refused",
                        subscriber=subscriber.name,
                        step=event.sop_instance_uid,
                        error=str(error),
                    )
                with self._database.write() as session:
                    ups_events.arrived(session, event, until=_now() + self._lease)
                told.append(event.id)
        log.info("events_told", subscriber=subscriber.name, events=len(told))

    def _failed(self, subscriber: Subscriber, ids: Sequence[int], error: str) -> None:
        with self._database.write() as session:
            given_up = ups_events.failed(session, ids, error=error, policy=self._policy, now=_now())
        if given_up:
            log.error("events_given_up", subscriber=subscriber.name, events=given_up, error=error)
        log.warning("events_not_told", subscriber=subscriber.name, events=len(ids), error=error)


def _now() -> datetime:
    return datetime.now(UTC)
