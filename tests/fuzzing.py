"""A scanner that sends nonsense: recorded sessions, mutated, and what each may do to the receiver: nothing.

A case ends with an answer or with the end of the connection. Neither within `PATIENCE_S` is a stuck thread.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from time import monotonic, sleep

import psutil
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.committing import reference
from tests.receiving import AE_TITLE
from tests.scanner import ct_slice
from tests.wire import (
    ACCEPTED,
    CT_IMAGE_STORAGE,
    DATA,
    IMPLICIT_VR,
    STORAGE_COMMITMENT,
    VERIFICATION,
    action_command,
    associate_rq,
    connect,
    echo_command,
    element,
    p_data,
    read_pdu,
    release_rq,
    report_command,
    store_command,
)

PATIENCE_S = 30.0
#: how long an answer is waited for before the connection is given up, s
_ANSWER_S = 0.25
#: the same of an association that may never have been asked for as a whole, s
_ACCEPTED_S = 0.1
EXPLICIT_VR, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
#: context ids: of the association that every case but those on PDU level begins with
ECHO, COMMIT, IMPLICIT, EXPLICIT, PACKED = 1, 3, 5, 7, 9
ASSOCIATE = associate_rq(
    called=AE_TITLE,
    classes=(VERIFICATION, STORAGE_COMMITMENT, *[CT_IMAGE_STORAGE] * 3),
    syntaxes=(IMPLICIT_VR, IMPLICIT_VR, IMPLICIT_VR, EXPLICIT_VR, DEFLATED),
)
#: four bytes that lengths and counts do not like
ODD = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x80\x00",
)

#: (what, where, with what) of one mutation; `where` is taken modulo the length
Mutation = tuple[str, int, bytes]
KINDS = ("replace", "insert", "cut", "delete", "double", "odd")


class StuckError(AssertionError):
    """The receiver neither answers nor hangs up."""


def mutate(data: bytes, mutations: Sequence[Mutation]) -> bytes:
    """Apply each in turn."""
    for kind, where, what in mutations:
        at = where % (len(data) + 1)
        if kind == "odd":
            kind, what = "replace", ODD[where % len(ODD)]
        match kind:
            case "replace":
                data = data[:at] + what + data[at + len(what) :]
            case "insert":
                data = data[:at] + what + data[at:]
            case "cut":
                data = data[:at]
            case "delete":
                data = data[:at] + data[at + len(what) + 1 :]
            case "double":
                data = data[:at] + data[max(0, at - 64) : at] * 2 + data[at:]
    return data


def _encoded(ds: Dataset, *, implicit: bool) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, True
    write_dataset(file, ds)
    return bytes(file.parent.getvalue())  # type: ignore[union-attr]


def _slice() -> Dataset:
    ds = ct_slice(1, study="1.2.3", series="1.2.3.4", pixels=4)
    del ds.file_meta
    return ds


def _commitment(name: str) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = "1.2.3.9"
    setattr(ds, name, [reference(CT_IMAGE_STORAGE, "1.2.3.4.1"), reference(CT_IMAGE_STORAGE, "1.2.3.4.2")])
    return ds


#: what is said: (command set as a PDU, data set, its context)
MESSAGES: tuple[tuple[bytes, bytes, int], ...] = (
    (store_command("1.2.3.4.1", context=IMPLICIT), _encoded(_slice(), implicit=True), IMPLICIT),
    (store_command("1.2.3.4.1", context=EXPLICIT), _encoded(_slice(), implicit=False), EXPLICIT),
    (store_command("1.2.3.4.1", context=PACKED), b"\x4b\x04\x00" * 40, PACKED),
    (action_command(context=COMMIT), _encoded(_commitment("ReferencedSOPSequence"), implicit=True), COMMIT),
    (report_command(context=COMMIT), b"", COMMIT),
    (echo_command(7, context=ECHO), b"", ECHO),
)
#: whole sessions, for the PDU level
SESSIONS: tuple[bytes, ...] = tuple(
    ASSOCIATE + head + (p_data(data, control=0x02, context=context) if data else b"") + release_rq()
    for head, data, context in MESSAGES
)
#: of a PDU with one fragment: what stands before the command set
_PDU_HEAD = 12


class Attacker:
    """Sends cases, over one association as long as that stands. One thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire: socket.socket | None = None
        self._messages = 0
        #: how many cases were sent
        self.cases = 0

    def session(self, which: int, mutations: Sequence[Mutation]) -> None:
        """PDU level: a whole session as a stream of bytes, from the request for an association on."""
        self.cases += 1
        sent = mutate(SESSIONS[which % len(SESSIONS)], mutations)
        with connect(self._port) as wire:
            wire.settimeout(_ACCEPTED_S)
            # nothing may follow before the answer, or the receiver never looks at it
            if _send(wire, sent[: len(ASSOCIATE)]) and _is_there(wire):
                _send(wire, sent[len(ASSOCIATE) :])
            _until_hung_up(wire)

    def command(self, which: int, mutations: Sequence[Mutation], *, control: int, context: int) -> None:
        """DIMSE level: a command set that was tampered with, its data set as it should be."""
        head, data, of_data = MESSAGES[which % len(MESSAGES)]
        fragment = mutate(head[_PDU_HEAD:], mutations)
        sent = p_data(fragment, control=control, context=context or of_data)
        if data:
            sent += p_data(data, control=0x02, context=of_data)
        self._case(sent)

    def data_set(self, which: int, mutations: Sequence[Mutation], *, cuts: int) -> None:
        """Data set level: a message as it should be, with a data set that was tampered with, in pieces."""
        head, data, context = MESSAGES[which % len(MESSAGES)]
        data = mutate(data, mutations)
        size = max(1, len(data) // (cuts + 1))
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)] or [b""]
        sent = head
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            sent += p_data(piece, control=0x02 if last else 0x00, context=context)
        self._case(sent)

    def is_served(self) -> bool:
        """Whether a fresh association is accepted, and C-ECHO answered."""
        with connect(self._port) as wire:
            kinds = []
            for said in (ASSOCIATE, echo_command(1, context=ECHO)):
                wire.sendall(said)
                kinds.append(read_pdu(wire)[0])
            wire.sendall(release_rq())
            _until_hung_up(wire, half_close=False)
        return kinds == [ACCEPTED, DATA]

    def close(self) -> None:
        """Hang up."""
        if self._wire is not None:
            _until_hung_up(self._wire)
            self._wire.close()
            self._wire = None

    def _case(self, sent: bytes) -> None:
        """What was sent is answered, or hung up on: so is the C-ECHO behind it."""
        self.cases += 1
        self._messages = self._messages % 60_000 + 100
        if self._wire is None:
            self._wire = connect(self._port)
            self._wire.sendall(ASSOCIATE)
            assert read_pdu(self._wire)[0] == ACCEPTED
        self._wire.settimeout(_ANSWER_S)
        if not (_send(self._wire, sent + echo_command(self._messages, context=ECHO)) and self._is_answered()):
            self._wire.settimeout(PATIENCE_S)
            self.close()

    def _is_answered(self) -> bool:
        assert self._wire is not None
        expected = element(0x0120, pack("<H", self._messages))
        try:
            while True:
                # two answers in a row would wait for a delayed acknowledgement in between
                self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                kind, body = read_pdu(self._wire)
                if kind == DATA and expected in body:
                    return True
                if kind != DATA:
                    return False
        except TimeoutError:
            return False


def _send(wire: socket.socket, data: bytes) -> bool:
    try:
        wire.sendall(data)
    except OSError:  # it has hung up already, or takes no more
        return False
    return True


def _is_there(wire: socket.socket) -> bool:
    """Whether it goes on after an answer; that none comes, of half a PDU, is no reason to stop."""
    try:
        return read_pdu(wire)[0] != 0
    except TimeoutError:
        return True
    except OSError:
        return False


def _until_hung_up(wire: socket.socket, *, half_close: bool = True) -> None:
    """Read to the end of the stream. Raises StuckError."""
    deadline = monotonic() + PATIENCE_S
    wire.settimeout(PATIENCE_S)
    try:
        if half_close:
            wire.shutdown(socket.SHUT_WR)
        while wire.recv(1 << 16):
            if monotonic() > deadline:
                raise StuckError
    except TimeoutError:
        raise StuckError from None
    except OSError:
        return


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a process holds."""

    #: resident memory, MiB
    rss_mib: float
    #: open files and sockets
    files: int
    #: threads
    threads: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Now."""
        process = psutil.Process(pid)
        rss = process.memory_info().rss / 2**20
        return cls(rss_mib=rss, files=process.num_fds(), threads=process.num_threads())

    @classmethod
    def settled(cls, pid: int, *, like: Footprint, limit_s: float = 30.0) -> Footprint:
        """Once what was under way has ended; as it is at the limit otherwise."""
        deadline = monotonic() + limit_s
        while True:
            now = cls.of(pid)
            if (now.files <= like.files and now.threads <= like.threads) or monotonic() > deadline:
                return now
            sleep(0.05)
