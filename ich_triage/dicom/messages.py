"""pynetdicom's DIMSE provider, with bounds on what a peer can make us hold in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from io import BytesIO
from threading import Lock
from time import monotonic
from typing import Any, cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA

log = structlog.get_logger(__name__)

#: longest command set, bytes; real ones have a few hundred (PS3.7 Annex E)
_COMMAND_LIMIT_BYTES = 1 << 16
#: requests that wait to be served; without asynchronous operations there is one (PS3.7 section D.3.3.3)
_WAITING_LIMIT = 16


class BoundedProvider(DIMSEServiceProvider):
    """Aborts an association whose command set or message has no end, whose requests wait for no answer, or
    that makes no sense.

    Every request waits for its turn, where pynetdicom gives each N-EVENT-REPORT a thread of its own; the
    answers to what we tell the peer meanwhile are kept apart from them.
    """

    def __init__(self, association: Association, *, number: int, limit_s: float) -> None:
        """`limit_s`: time in which a message must arrive whole."""
        super().__init__(association)
        #: our own number of the association
        self.number = number
        self._limit_s = limit_s
        self._deadline = 0.0
        #: called with the answer to an N-EVENT-REPORT of ours; must not wait
        self.on_answer: Callable[[N_EVENT_REPORT], None] = lambda _answer: None
        self._sending = Lock()

    @abstractmethod
    def data_set_of(self, message: DIMSEMessage) -> BytesIO:
        """What takes the data set of a message; it must bound it."""

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send one message as a whole: fragments of two must not mix, whichever threads send them."""
        with self._sending:
            super().send_msg(primitive, context_id)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one P-DATA primitive of the peer."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = self.data_set_of(self.message)
            self._deadline = monotonic() + self._limit_s
        if monotonic() > self._deadline:
            log.warning("message_without_end", association=self.number)
            self._hang_up()
            return
        too_long = self.message.encoded_command_set.tell() > _COMMAND_LIMIT_BYTES
        if too_long or self.msg_queue.qsize() > _WAITING_LIMIT:
            self._hang_up()
            return
        # broad, since these are a peer's bytes, on which the library raises whatever it likes: its thread
        # would die of it with the connection open
        try:
            if self.message.decode_msg(primitive, self.assoc):
                self._take(self.message)
        except Exception as error:  # noqa: BLE001
            log.warning("message_not_understood", association=self.number, error=type(error).__name__)
            self._hang_up()

    def _take(self, message: DIMSEMessage) -> None:
        """A message is whole: to who waits for it."""
        request: Any = message.message_to_primitive()
        answers = request.MessageIDBeingRespondedTo
        if answers is None and not request.is_valid_request:
            raise ValueError("a request without what it must have")  # pynetdicom would leave it unanswered
        # message and data set refer to each other; nobody should wait for the garbage collector
        self.message, message.data_set = None, BytesIO()
        if answers is None:
            self.msg_queue.put((cast(int, message.context_id), request))
        elif isinstance(request, N_EVENT_REPORT):
            self.on_answer(request)
        elif isinstance(request, C_CANCEL) and len(self.cancel_req) < _WAITING_LIMIT:
            self.cancel_req[answers] = request

    def _hang_up(self) -> None:
        self.dul.event_queue.put("Evt19")  # an invalid PDU: PS3.8 Table 9-10, A-ABORT


def status(code: int, comment: str) -> Dataset:
    """A status with its Error Comment (0000,0902), at most 64 characters."""
    ds = Dataset()
    ds.Status = code
    ds.ErrorComment = comment[:64]
    return ds
