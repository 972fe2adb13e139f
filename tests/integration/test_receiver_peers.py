"""Peers that misbehave, vanish or only look: the process lives on and keeps nothing of them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from ich_triage.domain.commitment import CommitmentResult
from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.receiving import AE_TITLE, associated, count_indexed, left_behind, receiving, send, stored
from tests.scanner import head
from tests.wire import ACCEPTED, DATA, associate_rq, connect, p_data, read_pdu, store_command

ECHO = [(Verification, ExplicitVRLittleEndian)]
ABORT = 0x07

Wait = Callable[..., None]


def _association_threads() -> int:
    parts = ("AcceptorThread", "run_reactor", "process_request_thread")
    return sum(any(part in thread.name for part in parts) for thread in threading.enumerate())


def test_port_monitors_take_nobodys_place(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Bare TCP probes, far more than there are places, leave no thread and block no scanner."""
    with receiving(sqlite, tmp_path, dicom={"max_associations": 2}) as receiver:
        for _ in range(20):
            connect(receiver.port).close()
        wait_until(lambda: _association_threads() == 0, what="the probes' threads to end")
        with associated(receiver.port, ECHO) as association:
            assert association.send_c_echo().Status == 0x0000


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        random.Random(0).randbytes(4096),
        bytes(300),
        b"\x01\x00\xff\xff\xff\xff" + bytes(64),
        b"\x01\x00\x00\x00\x00\x04abcd",
        b"\x04\x00\x00\x00\x00\x04abcd",
        b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00",
        b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00",
    ],
    ids=[
        "http",
        "tls",
        "random",
        "zeros",
        "4-gigabyte-pdu",
        "short-associate",
        "early-data",
        "release",
        "abort",
    ],
)
@pytest.mark.risk("R-114")
def test_rubbish_bytes_end_their_own_connection_only(
    sqlite: Database, tmp_path: Path, rubbish: bytes, wait_until: Wait
) -> None:
    """A browser, a TLS client, noise, a PDU out of order: hung up on, and the next scanner is served."""
    with receiving(sqlite, tmp_path, dicom={"network_timeout_s": 1.0}) as receiver:
        with connect(receiver.port) as peer:
            peer.sendall(rubbish)
            while read_pdu(peer)[0]:
                pass
        wait_until(lambda: _association_threads() == 0, what="the connection's threads to end")
        with associated(receiver.port, ECHO) as association:
            assert association.send_c_echo().Status == 0x0000


def test_a_sender_that_stalls_is_hung_up_on(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Half a PDU and then silence: after the network time-out the connection and its threads are gone."""
    with receiving(sqlite, tmp_path, dicom={"network_timeout_s": 1.0}) as receiver:
        with connect(receiver.port) as peer:
            peer.sendall(associate_rq(called=AE_TITLE)[:40])
            while read_pdu(peer)[0]:
                pass
        wait_until(lambda: _association_threads() == 0, what="the connection's threads to end")


@pytest.mark.risk("R-114")
def test_a_sender_that_trickles_is_hung_up_on(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """One byte now and then keeps nobody's connection: the whole PDU has one time-out."""
    with (
        receiving(sqlite, tmp_path, dicom={"network_timeout_s": 1.0}) as receiver,
        connect(receiver.port) as peer,
    ):
        request = iter(associate_rq(called=AE_TITLE))

        def trickled() -> bool:
            try:
                peer.sendall(bytes([next(request)]))
            except OSError:
                return True
            return _association_threads() == 0

        wait_until(_association_threads, what="the connection")
        wait_until(trickled, what="the receiver to hang up")


@pytest.mark.risk("R-114")
def test_an_object_without_end_is_hung_up_on(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Whole PDUs, one byte each, for ever: never silent, but no place and no half object is kept for it."""
    with (
        receiving(sqlite, tmp_path, dicom={"message_timeout_s": 1.0}) as receiver,
        connect(receiver.port) as peer,
    ):
        peer.sendall(associate_rq(called=AE_TITLE))
        assert read_pdu(peer)[0] == ACCEPTED
        peer.sendall(store_command("1.2.3"))

        def trickled() -> bool:
            try:
                peer.sendall(p_data(b"x", control=0x00))
            except OSError:
                return True
            return _association_threads() == 0

        wait_until(trickled, what="the receiver to hang up")
        wait_until(lambda: left_behind(tmp_path) == [], what="the half object to go")


@pytest.mark.parametrize(("more_bytes", "answer"), [(0, DATA), (1, 0)], ids=["as-agreed", "longer"])
@pytest.mark.risk("R-114")
def test_a_pdu_longer_than_agreed_is_not_taken(
    sqlite: Database, tmp_path: Path, more_bytes: int, answer: int
) -> None:
    """`max_pdu_bytes` counts what follows the length of a P-DATA-TF (PS3.8 section D.1); else we hang up."""
    agreed = 8192
    with (
        receiving(sqlite, tmp_path, dicom={"max_pdu_bytes": agreed}) as receiver,
        connect(receiver.port) as peer,
    ):
        peer.sendall(associate_rq(called=AE_TITLE))
        assert read_pdu(peer)[0] == ACCEPTED
        pdu = p_data(bytes(agreed - 6 + more_bytes), control=0x02)
        assert len(pdu) == 6 + agreed + more_bytes
        peer.sendall(store_command("1.2.3") + pdu)
        assert read_pdu(peer)[0] == answer


def test_a_dropped_association_leaves_no_half_object(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """A scanner whose cable is pulled in mid-object: nothing stored, nothing left, the next one served."""
    objects = head(2)
    with receiving(sqlite, tmp_path) as receiver:
        with connect(receiver.port) as peer:
            peer.sendall(associate_rq(called=AE_TITLE))
            assert read_pdu(peer)[0] == ACCEPTED
            peer.sendall(store_command("1.2.3") + p_data(bytes(8000), control=0x00))
            wait_until(lambda: len(left_behind(tmp_path)) == 1, what="the object to begin")
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # closes with a reset
        wait_until(lambda: left_behind(tmp_path) == [], what="the half object to go")
        assert send(receiver.port, objects) == [0x0000, 0x0000]
        wait_until(lambda: count_indexed(sqlite) == 2, what="the index")
    assert set(stored(tmp_path)) == {data.SOPInstanceUID for data in objects}


def test_a_store_without_a_data_set_cannot_be_understood(sqlite: Database, tmp_path: Path) -> None:
    """A C-STORE whose data set is empty is answered C000 (PS3.4 Table B.2-1), not acknowledged."""
    with receiving(sqlite, tmp_path) as receiver, connect(receiver.port) as peer:
        peer.sendall(associate_rq(called=AE_TITLE))
        assert read_pdu(peer)[0] == ACCEPTED
        peer.sendall(store_command("1.2.3") + p_data(b"", control=0x02))
        kind, body = read_pdu(peer)
        assert kind == 0x04
        status = body.split(b"\x00\x00\x00\x09\x02\x00\x00\x00")[1][:2]
    assert int.from_bytes(status, "little") == 0xC000
    assert left_behind(tmp_path) == []


_RECEIVER = """
import sys, threading
from pathlib import Path
from ich_triage.intake.receiver import Receiver
from ich_triage.store.database import Database
from tests.receiving import settings

receiver = Receiver(settings(Path(sys.argv[1])), Database(sys.argv[2]), on_commitment=lambda result: None)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


@contextmanager
def _receiver_process(folder: Path, url: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-c", _RECEIVER, str(folder), url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    try:
        yield process, int(_line_with_digits(process.stdout))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _line_with_digits(lines: Iterator[str]) -> str:
    return next(line for line in lines if line.strip().isdigit())


@pytest.mark.parametrize("after", [1, 20])
@pytest.mark.risk("R-008")
def test_kill_9_loses_nothing_acknowledged(
    database: Database, tmp_path: Path, after: int, wait_until: Wait
) -> None:
    """Killed in the midst of sending, every object that was acknowledged is indexed after a restart."""
    url = database.url.render_as_string(hide_password=False)
    acknowledged: list[str] = []
    with _receiver_process(tmp_path, url) as (process, port):
        with associated(port, [(CTImageStorage, ExplicitVRLittleEndian)]) as association:
            for data in head(30, pixels=256):
                answer = association.send_c_store(data)
                if answer.get("Status") != 0x0000:
                    break
                acknowledged.append(data.SOPInstanceUID)
                if len(acknowledged) == after:
                    os.kill(process.pid, signal.SIGKILL)
        assert len(acknowledged) >= after
    with receiving(database, tmp_path):
        wait_until(lambda: count_indexed(database) >= len(acknowledged), what="the index")
        wait_until(lambda: left_behind(tmp_path) == [], what="an empty inbox")
    assert set(acknowledged) <= set(stored(tmp_path))
    assert count_indexed(database) == len(stored(tmp_path)) <= len(acknowledged) + 1


@pytest.mark.risk("R-023")
def test_the_receiving_process_never_loads_torch() -> None:
    """Neither torch nor the engine comes along with the receiver."""
    code = "import sys, json; import ich_triage.intake.receiver; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"torch", "torchvision", "timm", "openvino", "scipy", "highdicom"} & set(modules)


def _event_information(*, failed: dict[str, int]) -> Dataset:
    information = Dataset()
    information.TransactionUID = "1.2.3"
    information.ReferencedSOPSequence = [_reference("1.2.4")]
    information.FailedSOPSequence = [_reference(uid) for uid in failed]
    for item, reason in zip(information.FailedSOPSequence, failed.values(), strict=True):
        item.FailureReason = reason
    return information


def _reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    return item


@pytest.mark.parametrize("negotiates", [True, False], ids=["with role selection", "without"])
def test_a_commitment_result_reaches_who_waits_for_it(
    sqlite: Database, tmp_path: Path, negotiates: bool
) -> None:
    """A PACS opens an association of its own and reports; with or without the roles it should negotiate."""
    heard: list[CommitmentResult] = []
    with receiving(sqlite, tmp_path, on_commitment=heard.append) as receiver:
        assert _report(receiver.port, negotiates=negotiates) == 0x0000
    assert heard == [
        CommitmentResult(transaction_uid="1.2.3", committed=frozenset({"1.2.4"}), failed={"1.2.5": 0x0112})
    ]


def test_a_commitment_result_that_nobody_could_take_is_a_failure(sqlite: Database, tmp_path: Path) -> None:
    """The PACS hears 0110, so that it can report again."""

    def refuse(_result: CommitmentResult) -> None:
        raise RuntimeError("no database")

    with receiving(sqlite, tmp_path, on_commitment=refuse) as receiver:
        assert _report(receiver.port, negotiates=True) == 0x0110


def _report(port: int, *, negotiates: bool) -> int:
    pacs = AE(ae_title="PACS")
    pacs.add_requested_context(StorageCommitmentPushModel)
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if negotiates else []
    association = pacs.associate("127.0.0.1", port, ae_title=AE_TITLE, ext_neg=roles)
    assert association.is_established
    if negotiates:
        assert association.accepted_contexts[0].as_scp
    else:
        association.accepted_contexts[0]._as_scp = True  # what a PACS without role selection does
    status, _ = association.send_n_event_report(
        _event_information(failed={"1.2.5": 0x0112}),
        2,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )
    association.release()
    return int(status.Status)


def test_two_receivers_share_a_spool(database: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Both take objects of one study at once; every one is indexed once."""
    first, second = head(12), head(12)
    for data in second:
        data.StudyInstanceUID = first[0].StudyInstanceUID
    other = Database(database.url.render_as_string(hide_password=False))
    migrate.require_current(other)
    with receiving(database, tmp_path) as one, receiving(other, tmp_path) as two:
        statuses: list[int] = []
        senders = [
            threading.Thread(target=lambda: statuses.extend(send(one.port, first + second[:6]))),
            threading.Thread(target=lambda: statuses.extend(send(two.port, second + first[:6]))),
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert statuses == [0x0000] * 36
        wait_until(lambda: count_indexed(database) == 24 and not left_behind(tmp_path), what="the index")
    other.close()
    assert len(stored(tmp_path)) == 24
