"""Who may come in to receiver and query service, and what a peer cannot make them hold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    Verification,
)
from structlog.testing import capture_logs

from ich_triage.dicom.scu import Peer, echo
from ich_triage.errors import DeliveryError
from ich_triage.settings import ClientTls
from ich_triage.store.database import Database
from tests.asking import STUDY_ROOT, answering, asking
from tests.certificates import make_certificates
from tests.receiving import AE_TITLE, associated, count_indexed, left_behind, receiving, send
from tests.scanner import ct_slice, head
from tests.wire import (
    ABORTED,
    ACCEPTED,
    CT_IMAGE_STORAGE,
    DATA,
    STORAGE_COMMITMENT,
    VERIFICATION,
    associate_rq,
    connect,
    element,
    get_command,
    p_data,
    read_pdu,
    report_command,
    store_command,
)

Wait = Callable[..., None]
PLAIN = str(ExplicitVRLittleEndian)
OFFERED = [(each, PLAIN) for each in (Verification, CTImageStorage, StorageCommitmentPushModel)]
ECHO = OFFERED[:1]


def peer(ae_title: str, *rights: str, **more: Any) -> dict[str, Any]:
    """One of `[[peers]]`, named as it calls itself."""
    return {"name": ae_title, "ae_title": ae_title, "rights": rights} | more


def accepted(association: Association) -> set[str]:
    """The abstract syntaxes of an association."""
    return {str(context.abstract_syntax) for context in association.accepted_contexts}


@pytest.mark.parametrize(
    ("calling", "address", "reason"),
    [
        ("STRANGER", "127.0.0.2", "calling_ae_title_not_recognized"),
        ("CT1", "127.0.0.3", "address_not_of_this_peer"),
        ("CT1", "127.0.0.2", None),
        ("CT2", "127.0.0.9", None),
    ],
)
@pytest.mark.risk("R-101")
def test_only_listed_peers_come_in_and_only_from_their_addresses(
    sqlite: Database, tmp_path: Path, calling: str, address: str, reason: str | None
) -> None:
    """The peer hears "calling AE title not recognised"; which of the two it was stands in the log."""
    peers = [peer("CT1", "store", addresses=["127.0.0.2"]), peer("CT2", "store", addresses=["127.0.0.8/30"])]
    with (
        capture_logs() as logs,
        receiving(sqlite, tmp_path, peers=peers) as receiver,
        associated(receiver.port, ECHO, calling=calling, address=address) as association,
    ):
        assert association.is_established is (reason is None)
        if reason:
            answer = association.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)
    told = [line for line in logs if line["event"] == "association_rejected"]
    assert [(line["reason"], line["address"], line["audit"]) for line in told] == (
        [(reason, address, True)] if reason else []
    )


@pytest.mark.parametrize(
    ("rights", "granted"),
    [
        ((), {Verification}),
        (("store",), {Verification, CTImageStorage}),
        (("commit",), {Verification, StorageCommitmentPushModel}),
        (("query",), {Verification}),
        (("store", "query", "commit"), {Verification, CTImageStorage, StorageCommitmentPushModel}),
    ],
)
def test_a_peer_is_offered_what_it_has_a_right_to(
    sqlite: Database, tmp_path: Path, rights: tuple[str, ...], granted: set[str]
) -> None:
    """Contexts beyond its rights are rejected one by one; the association and its other contexts go on."""
    with (
        receiving(sqlite, tmp_path, peers=[peer("CT1", *rights)]) as receiver,
        associated(receiver.port, OFFERED, calling="CT1") as association,
    ):
        assert accepted(association) == granted
        assert association.send_c_echo().Status == 0x0000


@pytest.mark.risk("R-122")
def test_questions_need_the_right_to_ask(sqlite: Database) -> None:
    """Who may only store asks for no patients, and claims no step; a list of AE titles narrows it further."""
    peers = [peer("CT1", "store"), peer("RIS", "query"), peer("PACS", "query")]
    classes = (STUDY_ROOT, UnifiedProcedureStepPull)
    with answering(sqlite, peers=peers, calling_ae_titles=["RIS", "CT1"]) as service:
        found = {}
        for calling in ("CT1", "RIS", "PACS", "STRANGER"):
            with asking(service.port, *classes, calling=calling) as association:
                found[calling] = accepted(association) if association.is_established else None
    assert found == {
        "CT1": {Verification},
        "RIS": {Verification, *classes},
        "PACS": None,
        "STRANGER": None,
    }


@pytest.mark.risk("R-101")
def test_a_certificate_is_good_for_its_own_peer_alone(sqlite: Database, tmp_path: Path) -> None:
    """Who has a certificate of the same authority cannot call itself by another's AE title."""
    ours = make_certificates(tmp_path / "certificates")
    dicom = {"tls_certificate": ours.signed, "tls_client_ca": ours.authority}
    shown = ClientTls(tls=True, ca_file=ours.authority, certificate_file=ours.issue("ct2.example"))
    peers = [peer(f"CT{each}", "store", certificate_name=f"ct{each}.example") for each in (1, 2)]
    with capture_logs() as logs, receiving(sqlite, tmp_path, dicom=dicom, peers=peers) as receiver:
        us = Peer(host="127.0.0.1", port=receiver.tls_port, ae_title=AE_TITLE, tls=shown)
        echo(us, calling="CT2")
        with pytest.raises(DeliveryError, match="rejected"):
            echo(us, calling="CT1")
        with associated(receiver.port, ECHO, calling="CT2") as without_certificate:
            assert without_certificate.is_rejected
    told = [line["reason"] for line in logs if line["event"] == "association_rejected"]
    assert told == ["certificate_not_of_this_peer"] * 2


@pytest.mark.risk("R-114")
def test_one_address_cannot_take_every_place(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Its third association is told to come back, another address is served; then its place is free again."""
    limits = {"max_associations": 3, "max_associations_per_address": 2}
    with receiving(sqlite, tmp_path, dicom=limits) as receiver, ExitStack() as stack:

        def open_from(address: str) -> Association:
            return stack.enter_context(associated(receiver.port, ECHO, address=address))

        first, _second, third = (open_from("127.0.0.2") for _ in range(3))
        other, one_too_many = open_from("127.0.0.3"), open_from("127.0.0.4")
        assert first.is_established and other.is_established
        for refused in (third, one_too_many):
            answer = refused.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        first.release()
        wait_until(lambda: open_from("127.0.0.2").is_established, what="the free place")


@pytest.mark.risk("R-114")
def test_a_flood_of_connections_is_closed_at_the_door(sqlite: Database, tmp_path: Path) -> None:
    """Beyond the rate of its address, a connection costs no thread; one line a minute tells of it."""
    with (
        capture_logs() as logs,
        receiving(sqlite, tmp_path, dicom={"max_connections_per_minute": 3}) as receiver,
    ):
        for _ in range(3):
            connect(receiver.port).close()
        for _ in range(5):
            with connect(receiver.port) as refused:
                assert read_pdu(refused) == (0, b"")
        with associated(receiver.port, ECHO, address="127.0.0.2") as association:
            assert association.is_established
    assert [line["address"] for line in logs if line["event"] == "connections_refused"] == ["127.0.0.1"]


def test_silent_connections_of_one_address_have_an_end(sqlite: Database, tmp_path: Path) -> None:
    """They take no place of an association, and beyond a number they are closed."""
    limits = {"max_associations_per_address": 1, "max_associations": 1}
    with receiving(sqlite, tmp_path, dicom=limits) as receiver, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(receiver.port))
        with associated(receiver.port, ECHO) as association:
            assert association.is_established
            with connect(receiver.port) as refused:
                assert read_pdu(refused) == (0, b"")


@pytest.mark.risk("R-115")
def test_an_object_that_is_too_long_is_refused_and_leaves_nothing(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """A700, no file, also none while it still arrives; what fits is stored over the same association."""
    study, series = "1.2.3", "1.2.3.4"
    long = ct_slice(1, study=study, series=series, pixels=1024)
    short = ct_slice(2, study=study, series=series)
    with receiving(sqlite, tmp_path, dicom={"max_object_bytes": 1 << 20}) as receiver:
        assert send(receiver.port, [long, short]) == [0xA700, 0x0000]
        wait_until(lambda: count_indexed(sqlite) == 1, what="the index")
        with connect(receiver.port) as wire:
            wire.sendall(associate_rq(called=AE_TITLE))
            assert read_pdu(wire)[0] == ACCEPTED
            wire.sendall(store_command("1.2.3.4.5") + p_data(bytes(100_000), control=0x00))
            wait_until(lambda: len(left_behind(tmp_path)) == 1, what="the object to begin")
            for _ in range(10):
                wire.sendall(p_data(bytes(100_000), control=0x00))
            wait_until(lambda: left_behind(tmp_path) == [], what="the object to go")


@pytest.mark.parametrize("endless", ["command", "requests"])
def test_what_has_no_end_is_hung_up_on(
    sqlite: Database, tmp_path: Path, endless: str, wait_until: Wait
) -> None:
    """A command set that goes on and on, and requests that wait for no answer, end their own association."""
    sent = p_data(bytes(16_000), control=0x01)
    if endless == "requests":
        sent = (store_command("1.2.3.4.5") + p_data(bytes(8), control=0x02)) * 200
    with receiving(sqlite, tmp_path) as receiver:
        with connect(receiver.port) as wire:
            wire.sendall(associate_rq(called=AE_TITLE))
            assert read_pdu(wire)[0] == ACCEPTED
            wait_until(lambda: _is_cut(wire, sent), what="the receiver to hang up")
        assert send(receiver.port, head(2)) == [0x0000] * 2
        wait_until(lambda: not _association_threads(), what="the threads to end")


def test_a_context_is_good_for_its_own_service_alone(sqlite: Database, tmp_path: Path) -> None:
    """Who may only verify stores nothing by way of the context for that, and claims no procedure step."""
    with receiving(sqlite, tmp_path, peers=[peer("WIRE")]) as receiver:
        with connect(receiver.port) as wire:
            wire.sendall(associate_rq(called=AE_TITLE, classes=(VERIFICATION, CT_IMAGE_STORAGE)))
            assert read_pdu(wire)[0] == ACCEPTED
            wire.sendall(store_command("1.2.3.4.5") + p_data(bytes(64), control=0x02))
            kind, answer = read_pdu(wire)
            assert kind == DATA and element(0x0900, pack("<H", 0x0122)) in answer
        assert list((tmp_path / "spool" / "inbox").iterdir()) == []
    with answering(sqlite, peers=[peer("WIRE")]) as service, connect(service.port) as wire:
        wire.sendall(associate_rq(called=AE_TITLE, classes=(VERIFICATION,)))
        assert read_pdu(wire)[0] == ACCEPTED
        wire.sendall(get_command(UnifiedProcedureStepPush, "1.2.3"))
        kind, answer = read_pdu(wire)
        assert kind == DATA and element(0x0900, pack("<H", 0x0124)) in answer


def test_a_context_without_a_service_is_hung_up_on(sqlite: Database, tmp_path: Path) -> None:
    """A request that can be decoded and makes no sense ends at once, not with the network time-out."""
    asked = associate_rq(called=AE_TITLE)
    item = pack(">BBH", 0x30, 0, len(CT_IMAGE_STORAGE)) + CT_IMAGE_STORAGE.encode()
    at = asked.index(item)
    other = pack(">BBH", 0x77, 0, len(CT_IMAGE_STORAGE)) + CT_IMAGE_STORAGE.encode()
    asked = asked[:at] + other + asked[at + len(item) :]
    with receiving(sqlite, tmp_path) as receiver, connect(receiver.port) as wire:
        wire.sendall(asked)
        assert read_pdu(wire)[0] == ABORTED


def test_a_flood_of_event_reports_costs_no_threads(sqlite: Database, tmp_path: Path) -> None:
    """Each waits for its turn, as any other request; whoever sends more than is answered is hung up on."""
    before = threading.active_count()
    with receiving(sqlite, tmp_path) as receiver, connect(receiver.port) as wire:
        wire.sendall(associate_rq(called=AE_TITLE, classes=(STORAGE_COMMITMENT,)))
        assert read_pdu(wire)[0] == ACCEPTED
        running, most = threading.active_count(), 0
        for _ in range(40):
            most = max(most, threading.active_count())
            try:
                wire.sendall(report_command() * 25)
            except OSError:
                break
        assert most <= running
    assert threading.active_count() <= before + 2  # of the pools that outlive a receiver


def _is_cut(wire: Any, sent: bytes) -> bool:
    wire.settimeout(0.2)
    try:
        wire.sendall(sent)
        return wire.recv(1 << 16) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def _association_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if "AcceptorThread" in each.name]
