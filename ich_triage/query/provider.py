"""What one association may cost us: the messages of a peer that asks are small."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from pydicom.dataset import Dataset
from pynetdicom.dimse_messages import DIMSEMessage

from ..dicom.messages import BoundedProvider
from ..errors import HeaderError, QueryError
from .status import OUT_OF_RESOURCES

#: longest data set that is taken, bytes; an identifier or a list of modifications has some hundreds
DATA_SET_LIMIT_BYTES = 1 << 20


class SmallDataSet(BytesIO):
    """A message's data set, dropped once it is too long; the peer hears of it after the last fragment."""

    def __init__(self) -> None:
        super().__init__()
        #: whether more came than is taken
        self.too_long = False

    def write(self, fragment: bytes) -> int:  # type: ignore[override]
        """Take one fragment."""
        if self.too_long or self.tell() + len(fragment) > DATA_SET_LIMIT_BYTES:
            self.too_long = True
            self.seek(0)
            self.truncate()
            return len(fragment)
        return super().write(fragment)


class SmallMessages(BoundedProvider):
    """Gives every message a :class:`SmallDataSet`."""

    def data_set_of(self, _message: DIMSEMessage) -> SmallDataSet:
        """Empty, and never long."""
        return SmallDataSet()


def check_length(data_set: object) -> None:
    """Raise QueryError where the data set of a request was too long to be taken."""
    if isinstance(data_set, SmallDataSet) and data_set.too_long:
        raise QueryError(OUT_OF_RESOURCES, f"the data set is longer than {DATA_SET_LIMIT_BYTES} bytes")


def received(read: Callable[[], Dataset]) -> Dataset:
    """The data set of a request. Raises HeaderError where its bytes are none."""
    # broad, since a decoder raises whatever it likes for the bytes of a peer
    try:
        return read()
    except Exception as error:
        raise HeaderError("the data set cannot be read") from error
