"""One destination of messages: sends what is due over one link, and does what each answer calls for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from threading import Event

from ..errors import DeliveryError
from ..settings import MllpDestination, Settings, WebhookDestination
from ..store import deliveries
from ..store.database import Database
from ..store.tables import Delivery
from .courier import Courier
from .link import Answer, Link, Outcome
from .mllp import MllpLink
from .webhook import WebhookLink


class MessageCourier(Courier):
    """Delivers messages to one destination, one batch for each link."""

    def __init__(
        self,
        settings: Settings,
        destination: MllpDestination | WebhookDestination,
        database: Database,
        *,
        worker_id: str,
        wake: Event,
    ) -> None:
        super().__init__(settings, destination, database, worker_id=worker_id, wake=wake)
        self._open_link = _opener(destination, settings.delivery.timeout_s)

    def _deliver(self, batch: Sequence[Delivery]) -> None:
        wanted = self._without_lost_files([each for each in batch if not self._is_obsolete(each)])
        if not wanted:
            return
        try:
            with self._open_link() as link:
                for each in wanted:
                    if link.is_open:  # what is not tried now is still due
                        self._send(link, each)
                if not link.is_open:
                    self._absence.begin()
        except DeliveryError as error:
            self._absence.begin()
            self._failed(wanted, str(error))

    def _send(self, link: Link, delivery: Delivery) -> None:
        if self._is_obsolete(delivery):  # since the batch was taken up: the others in it may take minutes
            return
        content = self._spool.local([delivery.path])[0].read_bytes()
        self._note(delivery, link.send(delivery.sop_instance_uid, content))

    def _is_obsolete(self, delivery: Delivery) -> bool:
        with self._database.write() as session:
            obsolete = deliveries.supersede(session, delivery.id)
        if obsolete:
            self._log.info("delivery_superseded", delivery=delivery.id)
        return obsolete

    def _note(self, delivery: Delivery, answer: Answer) -> None:
        match answer.outcome:
            case Outcome.ACCEPTED:
                with self._database.write() as session:
                    deliveries.mark_sent(session, delivery.id, now=datetime.now(UTC), commitment=False)
                self._absence.forget()
                self._log.info("delivery_sent", delivery=delivery.id, kind=delivery.kind, status=answer.said)
            case Outcome.AGAIN:
                self._failed([delivery], answer.said, words=answer.words, wait_s=answer.wait_s)
            case Outcome.NEVER:
                self._dead(delivery, answer.said, words=answer.words)


def _opener(
    destination: MllpDestination | WebhookDestination, timeout_s: float
) -> Callable[[], AbstractContextManager[Link]]:
    if isinstance(destination, MllpDestination):
        return lambda: MllpLink(destination, timeout_s=timeout_s)
    return lambda: WebhookLink(destination, timeout_s=timeout_s)
