"""A DICOM peer at byte level (PS3.8 section 9.3), for what no well-behaved library would send."""

from __future__ import annotations

import socket
from struct import pack, unpack

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT_VR = "1.2.840.10008.1.2"
ACCEPTED, REJECTED = 0x02, 0x03


def _item(kind: int, body: bytes) -> bytes:
    return pack(">BBH", kind, 0, len(body)) + body


def associate_rq(*, called: str, calling: str = "WIRE") -> bytes:
    """A-ASSOCIATE-RQ that proposes CT Image Storage in implicit VR as context 1."""
    syntaxes = _item(0x30, CT_IMAGE_STORAGE.encode()) + _item(0x40, IMPLICIT_VR.encode())
    user = _item(0x51, pack(">L", 16384)) + _item(0x52, b"1.2.3")
    body = (
        pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
        + _item(0x10, b"1.2.840.10008.3.1.1.1")
        + _item(0x20, pack(">BBBB", 1, 0, 0, 0) + syntaxes)
        + _item(0x50, user)
    )
    return pack(">BBL", 0x01, 0, len(body)) + body


def store_command(sop_instance_uid: str) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 Table 9.3-1) as one P-DATA-TF PDU."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return pack("<HHL", 0, number, len(value)) + value

    rest = (
        element(0x0002, CT_IMAGE_STORAGE.encode())
        + element(0x0100, pack("<H", 0x0001))
        + element(0x0110, pack("<H", 1))
        + element(0x0700, pack("<H", 0))
        + element(0x0800, pack("<H", 0))
        + element(0x1000, sop_instance_uid.encode())
    )
    return p_data(element(0x0000, pack("<L", len(rest))) + rest, control=0x03)


def p_data(fragment: bytes, *, control: int) -> bytes:
    """One fragment as one PDU; `control` is 0 or 2 for data, 3 for the last of a command."""
    value = pack(">LBB", len(fragment) + 2, 1, control) + fragment
    return pack(">BBL", 0x04, 0, len(value)) + value


def connect(port: int) -> socket.socket:
    """A TCP connection to the receiver, with a limit on every wait."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


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
