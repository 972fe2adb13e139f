"""Storage Commitment Push Model as SCP (PS3.4 Annex J): takes requests.

A request is a row before it is answered. What is held is then looked up in a thread of its own (`judge`), and
told on the association that asked while that is open. This process opens none itself: who has left is told by
a worker.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import BoundedSemaphore
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from ..dicom.commitment import read_request
from ..dicom.messages import status
from ..dicom.transport import association_number
from ..domain.commitment import CommitmentRequest
from ..errors import DicomReadError
from ..store import commitments
from ..store.commitments import Asker
from ..store.database import Database
from .judge import HOLD_S, Judge

log = structlog.get_logger(__name__)

#: PS3.7 Annex C, and PS3.3 section C.14.1.1 for the last one
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
NO_SUCH_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213
DUPLICATE_TRANSACTION = 0x0131
#: Request Storage Commitment (PS3.4 Table J.3-1)
_REQUEST = 1
#: requests that are being written at once, and how long a peer waits for the database, s
_AT_ONCE, KEEP_S = 8, 10.0

#: status and, where there is one, the row
Kept = tuple[int, int | None]


class Commitments:
    """What the listener does with N-ACTION. Any thread."""

    def __init__(self, database: Database, judge: Judge) -> None:
        self._database = database
        self._judge = judge
        self._slots = BoundedSemaphore(_AT_ONCE)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="commitment")

    def stop(self) -> None:
        """Take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def action(self, event: evt.Event) -> tuple[int | Dataset, None]:
        """Handler of EVT_N_ACTION: success once the request outlives us."""
        number = association_number(event)
        # broad, since this is the boundary to the peer: whatever goes wrong, it must hear that it did
        try:
            _check(event)
            request = read_request(event.action_information)
            code, row = self._kept(event, request)
        except _RefusedError as error:
            code, row = error.status, None
        except DicomReadError as error:
            log.warning("commitment_refused", association=number, reason=str(error))
            return status(INVALID_ARGUMENT, str(error)), None
        except Exception as error:  # noqa: BLE001
            log.error("commitment_not_taken", association=number, error=type(error).__name__)
            return status(PROCESSING_FAILURE, "the request could not be kept; ask again"), None
        if row is None:
            log.warning("commitment_refused", association=number, reason=f"status {code:04X}")
            return status(code, _WORDS[code]), None
        uid, objects = request.transaction_uid, len(request.objects)
        log.info("commitment_asked", association=number, transaction_uid=uid, objects=objects)
        self._judge.put(row, event)
        return SUCCESS, None

    def _kept(self, event: evt.Event, request: CommitmentRequest) -> Kept:
        """Write the row; a database that hangs holds up few associations, and none for long."""
        requestor = event.assoc.requestor
        asker = Asker(ae_title=requestor.ae_title, address=(requestor.address or "")[:64])
        if not self._slots.acquire(blocking=False):
            return RESOURCE_LIMITATION, None
        future = self._pool.submit(partial(self._keep, asker, request))
        future.add_done_callback(lambda _future: self._slots.release())
        try:
            return future.result(KEEP_S)
        except TookTooLong:
            future.cancel()
            raise

    def _keep(self, asker: Asker, request: CommitmentRequest) -> Kept:
        now = datetime.now(UTC)
        hold = now + timedelta(seconds=HOLD_S)
        with self._database.write() as session:
            known = commitments.find(session, asker, request)
            if known is not None:
                if set(commitments.asked(known)) != set(request.objects):
                    return DUPLICATE_TRANSACTION, None
                known.next_attempt_at = hold
                return SUCCESS, known.id
            if not commitments.is_room(session, asker, len(request.objects)):
                return RESOURCE_LIMITATION, None
            return SUCCESS, commitments.add(session, asker, request, now=now, not_before=hold).id


class _RefusedError(Exception):
    """The request is none of ours."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


_WORDS = {
    NO_SUCH_INSTANCE: "not the well-known SOP Instance of the service",
    NO_SUCH_CLASS: "not the SOP Class of the presentation context",
    NO_SUCH_ACTION: "there is no such action of storage commitment",
    RESOURCE_LIMITATION: "too many requests wait; ask again later",
    DUPLICATE_TRANSACTION: "this Transaction UID is in use for other objects",
}


def _check(event: evt.Event) -> None:
    """Raise _RefusedError unless it is a request for storage commitment."""
    request = cast(N_ACTION, event.request)
    for good, code in (
        (event.context.abstract_syntax == StorageCommitmentPushModel, NO_SUCH_CLASS),
        (request.RequestedSOPClassUID == StorageCommitmentPushModel, NO_SUCH_CLASS),
        (request.RequestedSOPInstanceUID == StorageCommitmentPushModelInstance, NO_SUCH_INSTANCE),
        (request.ActionTypeID == _REQUEST, NO_SUCH_ACTION),
    ):
        if not good:
            raise _RefusedError(code)
