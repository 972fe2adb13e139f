"""A DICOM peer at byte level (PS3.8 section 9.3), for what no well-behaved library would send."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from itertools import zip_longest
from struct import pack, unpack

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
IMPLICIT_VR = "1.2.840.10008.1.2"
ACCEPTED, REJECTED, DATA, ABORTED = 0x02, 0x03, 0x04, 0x07


def _item(kind: int, body: bytes) -> bytes:
    return pack(">BBH", kind, 0, len(body)) + body


def associate_rq(
    *,
    called: str,
    calling: str = "WIRE",
    classes: Sequence[str] = (CT_IMAGE_STORAGE,),
    syntaxes: Sequence[str] = (),
) -> bytes:
    """A-ASSOCIATE-RQ that proposes these SOP classes as contexts 1, 3, …, in these syntaxes."""
    contexts = b""
    for number, (sop_class, syntax) in enumerate(zip_longest(classes, syntaxes, fillvalue=IMPLICIT_VR)):
        named = _item(0x30, sop_class.encode()) + _item(0x40, syntax.encode())
        contexts += _item(0x20, pack(">BBBB", 2 * number + 1, 0, 0, 0) + named)
    user = _item(0x51, pack(">L", 16384)) + _item(0x52, b"1.2.3")
    body = (
        pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
        + _item(0x10, b"1.2.840.10008.3.1.1.1")
        + contexts
        + _item(0x50, user)
    )
    return pack(">BBL", 0x01, 0, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    """One element of group 0000, implicit VR little endian (PS3.7 section 6.3.1)."""
    value += b"\0" * (len(value) % 2)
    return pack("<HHL", 0, number, len(value)) + value


def command(*elements: bytes) -> bytes:
    """A command set with its group length."""
    rest = b"".join(elements)
    return element(0x0000, pack("<L", len(rest))) + rest


def store_command(sop_instance_uid: str, *, context: int = 1) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 Table 9.3-1) as one P-DATA-TF PDU."""
    whole = command(
        element(0x0002, CT_IMAGE_STORAGE.encode()),
        element(0x0100, pack("<H", 0x0001)),
        element(0x0110, pack("<H", 1)),
        element(0x0700, pack("<H", 0)),
        element(0x0800, pack("<H", 0)),
        element(0x1000, sop_instance_uid.encode()),
    )
    return p_data(whole, control=0x03, context=context)


def report_command(*, event_type: int = 1, context: int = 1) -> bytes:
    """The command set of an N-EVENT-REPORT-RQ of storage commitment, without a data set, as one PDU."""
    whole = command(
        element(0x0002, STORAGE_COMMITMENT.encode()),
        element(0x0100, pack("<H", 0x0100)),
        element(0x0110, pack("<H", 1)),
        element(0x0800, pack("<H", 0x0101)),
        element(0x1000, STORAGE_COMMITMENT.encode() + b".1"),
        element(0x1002, pack("<H", event_type)),
    )
    return p_data(whole, control=0x03, context=context)


def echo_command(message_id: int, *, context: int = 1) -> bytes:
    """The command set of a C-ECHO-RQ (PS3.7 Table 9.3-12) as one PDU."""
    whole = command(
        element(0x0002, VERIFICATION.encode()),
        element(0x0100, pack("<H", 0x0030)),
        element(0x0110, pack("<H", message_id)),
        element(0x0800, pack("<H", 0x0101)),
    )
    return p_data(whole, control=0x03, context=context)


def action_command(*, context: int = 1) -> bytes:
    """The command set of an N-ACTION-RQ for storage commitment as one PDU; a data set follows."""
    whole = command(
        element(0x0003, STORAGE_COMMITMENT.encode()),
        element(0x0100, pack("<H", 0x0130)),
        element(0x0110, pack("<H", 1)),
        element(0x0800, pack("<H", 0)),
        element(0x1001, STORAGE_COMMITMENT.encode() + b".1"),
        element(0x1008, pack("<H", 1)),
    )
    return p_data(whole, control=0x03, context=context)


def release_rq() -> bytes:
    """A-RELEASE-RQ."""
    return pack(">BBLL", 0x05, 0, 4, 0)


def get_command(sop_class: str, sop_instance_uid: str, *, context: int = 1) -> bytes:
    """The command set of an N-GET-RQ (PS3.7 Table 10.3-3) as one PDU."""
    whole = command(
        element(0x0003, sop_class.encode()),
        element(0x0100, pack("<H", 0x0110)),
        element(0x0110, pack("<H", 1)),
        element(0x0800, pack("<H", 0x0101)),
        element(0x1001, sop_instance_uid.encode()),
    )
    return p_data(whole, control=0x03, context=context)


def p_data(fragment: bytes, *, control: int, context: int = 1) -> bytes:
    """One fragment as one PDU; `control` is 0 or 2 for data, 3 for the last of a command."""
    value = pack(">LBB", len(fragment) + 2, context, control) + fragment
    return pack(">BBL", 0x04, 0, len(value)) + value


def connect(port: int) -> socket.socket:
    """A TCP connection to the receiver, with a limit on every wait."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def read_pdu(peer: socket.socket) -> tuple[int, bytes]:
    """Type and body of the next PDU; (0, b"") when the peer has closed."""
    head = _exactly(peer, 6)
    if len(head) < 6:
        return 0, b""
    kind, length = unpack(">BxL", head)
    return kind, _exactly(peer, length)


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        try:
            part = peer.recv(count - len(data))
        except ConnectionResetError:
            break
        if not part:
            break
        data += part
    return data
