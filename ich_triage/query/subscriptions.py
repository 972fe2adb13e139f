"""Who wants to hear of procedure steps: subscriptions (PS3.4 section CC.2.3)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime

import structlog
from pydicom.dataset import Dataset
from pynetdicom.sop_class import UPSGlobalSubscriptionInstance

from ..errors import QueryError
from ..store import ups, ups_events
from ..store.database import Database
from .events import EventType, state_report
from .keys import value_of
from .status import INVALID_ARGUMENT, NO_SUCH_STEP, SUCCESS, UNKNOWN_RECEIVER

log = structlog.get_logger(__name__)


class Subscriptions:
    """Changes of subscriptions. Each raises QueryError with the status that the peer is given."""

    def __init__(self, database: Database, known: Collection[str], *, on_event: Callable[[], None]) -> None:
        """`known`: AE titles of the configured subscribers."""
        self._database = database
        self._known = known
        self._on_event = on_event

    def subscribe(self, uid: str, information: Dataset) -> int:
        """To one step, or to all. A subscriber to one step is told its state at once (section CC.2.4.3)."""
        receiver, lock = self._receiver(information), _lock(information)
        with self._database.write() as session:
            first = not ups_events.anybody(session)
            if first:
                ups.settle(session)
            if uid == UPSGlobalSubscriptionInstance:
                ups_events.subscribe_globally(session, receiver, deletion_lock=lock)
            else:
                step = ups.find(session, uid)
                if step is None:
                    raise QueryError(NO_SUCH_STEP, "there is no such procedure step here")
                ups_events.subscribe(session, receiver, step, deletion_lock=lock)
                told, kind = state_report(step), EventType.STATE_REPORT
                ups_events.publish(session, step, kind, told, now=datetime.now(UTC), to=(receiver,))
        log.info("subscribed", step=uid, receiver=receiver, deletion_lock=lock)
        self._on_event()
        return SUCCESS

    def unsubscribe(self, uid: str, information: Dataset) -> int:
        """From one step, or from all; the latter ends subscriptions to single steps, too."""
        receiver = self._receiver(information)
        with self._database.write() as session:
            if uid == UPSGlobalSubscriptionInstance:
                ups_events.unsubscribe_globally(session, receiver)
            else:
                step = ups.find(session, uid)
                if step is None:
                    raise QueryError(NO_SUCH_STEP, "there is no such procedure step here")
                ups_events.unsubscribe(session, receiver, step)
        log.info("unsubscribed", step=uid, receiver=receiver)
        return SUCCESS

    def suspend(self, uid: str, information: Dataset) -> int:
        """No subscription to steps that are still to come."""
        if uid != UPSGlobalSubscriptionInstance:
            raise QueryError(NO_SUCH_STEP, "only a global subscription can be suspended")
        receiver = self._receiver(information)
        with self._database.write() as session:
            ups_events.suspend_globally(session, receiver)
        log.info("subscription_suspended", receiver=receiver)
        return SUCCESS

    def _receiver(self, information: Dataset) -> str:
        receiver = value_of(information, "ReceivingAE")
        if receiver not in self._known:
            raise QueryError(UNKNOWN_RECEIVER, "this ReceivingAE is not among [[query.subscribers]]")
        return receiver


def _lock(information: Dataset) -> bool:
    lock = value_of(information, "DeletionLock") or "FALSE"
    if lock not in ("TRUE", "FALSE"):
        raise QueryError(INVALID_ARGUMENT, "DeletionLock is neither TRUE nor FALSE")
    return lock == "TRUE"
