"""pynetdicom's DIMSE provider, with bounds on what a peer can make us hold in memory."""

from __future__ import annotations

from abc import abstractmethod
from io import BytesIO

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

#: longest command set, bytes; real ones have a few hundred (PS3.7 Annex E)
_COMMAND_LIMIT_BYTES = 1 << 16
#: requests that wait to be served; without asynchronous operations there is one (PS3.7 section D.3.3.3)
_WAITING_LIMIT = 16


class BoundedProvider(DIMSEServiceProvider):
    """Aborts an association whose command set has no end, or whose requests wait for no answer."""

    def __init__(self, association: Association, *, number: int) -> None:
        super().__init__(association)
        #: our own number of the association
        self.number = number

    @abstractmethod
    def data_set_of(self, message: DIMSEMessage) -> BytesIO:
        """What takes the data set of a message; it must bound it."""

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one P-DATA primitive of the peer."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = self.data_set_of(self.message)
        too_long = self.message.encoded_command_set.tell() > _COMMAND_LIMIT_BYTES
        if too_long or self.msg_queue.qsize() > _WAITING_LIMIT:
            self.dul.event_queue.put("Evt19")  # an invalid PDU: PS3.8 Table 9-10, A-ABORT
            return
        super().receive_primitive(primitive)
