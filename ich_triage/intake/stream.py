"""pynetdicom's DIMSE provider, changed so that an object goes to the spool as it arrives.

pynetdicom can receive a data set in chunks by itself (`STORE_RECV_CHUNKED_DATASET`), but then a full disk
in the middle of an object kills the association without a status, and an abort leaves the half file
behind. Here an :class:`IncomingObject` takes the place of the message's data set instead.
"""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import BinaryIO, cast

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

from ..dicom.messages import BoundedProvider
from ..dicom.uids import IMPLEMENTATION_CLASS_UID
from ..errors import ObjectTooLongError, SpoolError
from .spool import Arrival, Spool

#: Priority (0000,0700) HIGH, PS3.7 Table 9.1-1
PRIORITY_HIGH = 0x0001
#: longest data set of any other message than C-STORE, which stays in memory, bytes; a request for commitment,
#: or a result, has some 150 for each object
_IN_MEMORY_LIMIT_BYTES = 1 << 22


class IncomingObject(BytesIO):
    """A message's data set: a C-STORE's goes to the spool as it arrives, any other into memory.

    A failing disk is remembered, not raised, so that the peer gets its status after the last fragment; so is
    an object that is too long, of which nothing is kept from then on.
    """

    def __init__(
        self, message: DIMSEMessage, association: Association, spool: Spool, *, max_bytes: int
    ) -> None:
        super().__init__()
        self._left_bytes = max_bytes
        self._message: DIMSEMessage | None = message
        self._association = association
        self._spool = spool
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._error: SpoolError | OSError | None = None

    def write(self, fragment: bytes) -> int:  # type: ignore[override]
        """Take one fragment."""
        if not isinstance(self._message, C_STORE_RQ):
            return self._write_in_memory(fragment)
        if fragment and self._error is None:
            try:
                self._left_bytes -= len(fragment)
                if self._left_bytes < 0:
                    raise ObjectTooLongError
                if self._file is None:
                    self._begin()
                cast(BinaryIO, self._file).write(fragment)
            except (SpoolError, OSError) as error:
                self.discard()
                self._error = error
        return len(fragment)

    def _write_in_memory(self, fragment: bytes) -> int:
        """What is too long becomes empty, which no request understands."""
        self._left_bytes = min(self._left_bytes, _IN_MEMORY_LIMIT_BYTES) - len(fragment)
        if self._left_bytes >= 0:
            return super().write(fragment)
        self.seek(0)
        self.truncate()
        return len(fragment)

    def _begin(self) -> None:
        """Open the file and write its header (PS3.10 section 7.1), the sender's AE title included."""
        message = cast(DIMSEMessage, self._message)
        command = message.command_set
        context = self._association._accepted_cx[cast(int, message.context_id)]
        meta = b"".join(
            (
                _element(0x0001, b"OB", b"\x00\x01"),
                _element(0x0002, b"UI", command.AffectedSOPClassUID),
                _element(0x0003, b"UI", command.AffectedSOPInstanceUID),
                _element(0x0010, b"UI", context.transfer_syntax[0]),
                _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
                _element(0x0017, b"AE", self._association.requestor.ae_title),
            )
        )
        self._path, self._file = self._spool.create()
        self._file.write(bytes(128) + b"DICM" + _element(0x0000, b"UL", pack("<L", len(meta))) + meta)

    def commit(self, *, association: int) -> Arrival | None:
        """Make the object durable; None when no data set came. Raises SpoolError, OSError."""
        if self._error is not None:
            raise self._error
        if self._file is None or self._path is None or self._message is None:
            return None
        high = self._message.command_set.get("Priority") == PRIORITY_HIGH
        try:
            return self._spool.make_durable(
                self._path, self._file, high_priority=high, association=association
            )
        except OSError:
            self.discard()
            raise
        finally:
            # message and data set refer to each other; nobody should wait for the garbage collector
            self._message = self._file = None

    @property
    def is_open(self) -> bool:
        """Whether it has a file that is not durable yet."""
        return self._file is not None

    def discard(self) -> None:
        """Remove what has arrived so far."""
        if self._file is not None and self._path is not None:
            # a full disk fails the last flush, too; the file goes anyway
            with suppress(OSError):
                self._file.close()
            self._path.unlink(missing_ok=True)
        self._file = None


def _element(number: int, vr: bytes, value: str | bytes) -> bytes:
    """One element of group 0002, explicit VR little endian (PS3.5 section 7.1.2).

    By hand, since pydicom takes a tenth of the time that an object takes.
    """
    data = value if isinstance(value, bytes) else value.encode("ascii", "replace")
    data += (b" " if vr == b"AE" else b"\0") * (len(data) % 2)
    length = pack("<2xL", len(data)) if vr == b"OB" else pack("<H", len(data))
    return pack("<HH", 0x0002, number) + vr + length + data


class SpoolingProvider(BoundedProvider):
    """Gives every message an :class:`IncomingObject` for its data set."""

    def __init__(
        self, association: Association, spool: Spool, *, number: int, max_bytes: int, limit_s: float
    ) -> None:
        """`max_bytes`: longest data set that is kept; `limit_s`: time in which a message must arrive."""
        super().__init__(association, number=number, limit_s=limit_s)
        self._spool = spool
        self._max_bytes = max_bytes
        self._given: list[IncomingObject] = []

    def data_set_of(self, message: DIMSEMessage) -> IncomingObject:
        """Empty, of a message whose kind is not known yet."""
        made = IncomingObject(message, self.assoc, self._spool, max_bytes=self._max_bytes)
        self._given = [*(each for each in self._given if each.is_open), made]
        return made

    def discard_unserved(self) -> None:
        """Remove every object that nobody will answer any more: half of one, one behind an abort, one that
        the library has refused."""
        for each in self._given:
            each.discard()
