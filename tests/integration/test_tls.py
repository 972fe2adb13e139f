"""TLS as DCMTK, OpenSSL and pynetdicom meet it: who is let in, who is not, and that nobody delays others."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from ich_triage.cli.app import app
from ich_triage.dicom.scu import Peer, echo, store
from ich_triage.errors import DeliveryError, SettingsError
from ich_triage.intake.receiver import Receiver
from ich_triage.settings import ClientTls, DicomDestination, Subscriber
from ich_triage.store.database import Database
from tests.asking import answering
from tests.certificates import Certificates, make_certificates
from tests.peers import echoscu, program, storescp
from tests.receiving import AE_TITLE, associated, count_indexed, receiving
from tests.scanner import head, save
from tests.service import write_config

Wait = Callable[..., None]
ECHO = [(Verification, ExplicitVRLittleEndian)]


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    """The hospital's own authority, and our certificate."""
    return make_certificates(tmp_path / "certificates")


def mutual(ours: Certificates, **more: object) -> dict[str, object]:
    """Settings of a listener whose peers must show a certificate."""
    return {"tls_certificate": ours.signed, "tls_client_ca": ours.authority} | more


def with_tls(port: int, tls: ClientTls) -> Peer:
    """Our listener as a peer that we open associations to."""
    return Peer(host="127.0.0.1", port=port, ae_title=AE_TITLE, tls=tls)


def shows(ours: Certificates, certificate: Path) -> ClientTls:
    """A client of this authority with a certificate and its key."""
    return ClientTls(tls=True, ca_file=ours.authority, certificate_file=certificate)


@pytest.mark.peer
def test_dcmtk_stores_over_mutual_tls(
    sqlite: Database, tmp_path: Path, ours: Certificates, wait_until: Wait
) -> None:
    """A scanner with a certificate of the hospital's authority stores on the port that is encrypted."""
    files = save(head(3), tmp_path / "files")
    scanner = str(ours.issue("scanner"))
    with capture_logs() as logs, receiving(sqlite, tmp_path, dicom=mutual(ours)) as receiver:
        command = [
            program("storescu"),
            "+tls",
            scanner,
            scanner,
            "+cf",
            str(ours.authority),
            "-aec",
            AE_TITLE,
        ]
        where = ["127.0.0.1", str(receiver.tls_port)]
        subprocess.run([*command, *where, *map(str, files)], check=True, timeout=60)
        wait_until(lambda: count_indexed(sqlite) == 3, what="the index")
    assert [line["tls"] for line in logs if line["event"] == "association_established"] == [True]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("nobody", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ("expired", "certificate has expired"),
        ("of another authority", "unable to get local issuer certificate|certificate signature failure"),
    ],
)
@pytest.mark.risk("R-101")
def test_wrong_certificates_are_refused_and_audited(
    sqlite: Database, tmp_path: Path, ours: Certificates, who: str, reason: str
) -> None:
    """No certificate, an expired one, one of another authority: no association, and the log says why."""
    foreign = make_certificates(tmp_path / "foreign")
    shown = {
        "nobody": ["+tla"],
        "expired": ["+tls", *[str(ours.issue("expired", expired=True))] * 2],
        "of another authority": ["+tls", *[str(foreign.issue("scanner"))] * 2],
    }[who]
    with capture_logs() as logs, receiving(sqlite, tmp_path, dicom=mutual(ours)) as receiver:
        told = echoscu(receiver.tls_port, *shown, "+cf", ours.authority, called=AE_TITLE)
        assert told.returncode != 0
        echo(with_tls(receiver.tls_port, shows(ours, ours.issue("scanner"))), calling="SCANNER")
    refused = [line for line in logs if line["event"] == "tls_refused"]
    assert [(line["audit"], line["address"]) for line in refused] == [(True, "127.0.0.1")]
    assert refused[0]["reason"] in reason.split("|")


@pytest.mark.peer
@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (["-tls1"], False),
        (["-tls1_1"], False),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"], False),
        (["-tls1_2", "-cipher", "AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"], False),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], True),
        (["-tls1_3"], True),
    ],
    ids=["1.0", "1.1", "CBC", "no forward secrecy or no ECDHE", "1.2", "1.3"],
)
@pytest.mark.risk("R-102")
def test_only_what_bcp_195_takes_is_taken(
    sqlite: Database, tmp_path: Path, ours: Certificates, offered: list[str], taken: bool
) -> None:
    """TLS 1.2 with forward-secret authenticated encryption, or TLS 1.3; nothing older or weaker."""
    with receiving(sqlite, tmp_path, dicom={"tls_certificate": ours.signed}) as receiver:
        command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{receiver.tls_port}"]
        if offered[-1].startswith("-tls1") and not taken:
            offered = [*offered, "-cipher", "ALL:@SECLEVEL=0"]
        command += ["-CAfile", str(ours.authority), "-verify_return_error", *offered]
        told = subprocess.run(command, input="Q\n", capture_output=True, text=True, check=False, timeout=60)
    assert (told.returncode == 0) is taken


def test_a_listener_may_serve_tls_alone(sqlite: Database, tmp_path: Path, ours: Certificates) -> None:
    """Without the plain port; who speaks without encryption to the other one is hung up on."""
    dicom = mutual(ours, plain=False, network_timeout_s=2.0)
    with receiving(sqlite, tmp_path, dicom=dicom) as receiver:
        assert receiver.port == 0
        with associated(receiver.tls_port, ECHO) as association:
            assert not association.is_established
        echo(with_tls(receiver.tls_port, shows(ours, ours.issue("scanner"))), calling="SCANNER")


def test_who_says_nothing_delays_nobody(
    sqlite: Database, tmp_path: Path, ours: Certificates, wait_until: Wait
) -> None:
    """Ten connections without a handshake take no place of an association, and are hung up on."""
    limits = {"max_associations": 1, "max_associations_per_address": 10, "network_timeout_s": 1.0}
    with receiving(sqlite, tmp_path, dicom=mutual(ours, **limits)) as receiver, ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.tls_port), timeout=10))
            for _ in range(10)
        ]
        began = monotonic()
        echo(with_tls(receiver.tls_port, shows(ours, ours.issue("scanner"))), calling="SCANNER")
        assert monotonic() - began < 0.9
        assert [each.recv(1) for each in silent] == [b""] * 10


def served_certificate(port: int, ours: Certificates) -> str:
    """Serial number of the certificate that the listener shows."""
    context = ssl.create_default_context(cafile=ours.authority)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        return str((connection.getpeercert() or {})["serialNumber"])


def test_a_renewed_certificate_is_taken_without_a_restart(
    sqlite: Database, tmp_path: Path, ours: Certificates
) -> None:
    """New connections get the new one, a broken file leaves the old one in use and is told, once."""
    with receiving(sqlite, tmp_path, dicom={"tls_certificate": ours.signed}) as receiver:
        first = served_certificate(receiver.tls_port, ours)
        running = ssl.create_default_context(cafile=ours.authority).wrap_socket(
            socket.create_connection(("127.0.0.1", receiver.tls_port), timeout=10),
            server_hostname="127.0.0.1",
        )
        ours.issue("signed", address="127.0.0.1")
        second = served_certificate(receiver.tls_port, ours)
        assert second != first
        with running:
            assert running.getpeercert()["serialNumber"] == first
        ours.signed.write_text("half a certifi")
        with capture_logs() as logs:
            assert [served_certificate(receiver.tls_port, ours) for _ in range(2)] == [second] * 2
        [told] = [line for line in logs if line["event"] == "certificate_not_taken"]
        assert "signed.pem cannot be used" in told["reason"] and "mend it" in told["reason"]
        ours.issue("signed", address="127.0.0.1")
        assert served_certificate(receiver.tls_port, ours) not in (first, second)


def test_an_authority_that_is_replaced_lets_its_peers_in_no_more(
    sqlite: Database, tmp_path: Path, ours: Certificates
) -> None:
    """Also without a restart: what the old authority has signed is refused from then on."""
    foreign = make_certificates(tmp_path / "foreign")
    scanner = shows(ours, ours.issue("scanner"))
    with receiving(sqlite, tmp_path, dicom=mutual(ours)) as receiver:
        echo(with_tls(receiver.tls_port, scanner), calling="SCANNER")
        kept = ours.authority.read_bytes()
        (tmp_path / "ca.pem").write_bytes(kept)
        ours.authority.write_bytes(foreign.authority.read_bytes())
        scanner = scanner.model_copy(update={"ca_file": tmp_path / "ca.pem"})
        with pytest.raises(DeliveryError, match="our certificate is not to its liking"):
            echo(with_tls(receiver.tls_port, scanner), calling="SCANNER")


def test_a_key_that_does_not_fit_is_named_at_the_start(
    sqlite: Database, tmp_path: Path, ours: Certificates
) -> None:
    """Neither listener starts, and each says which files, and what is wrong with them."""
    files = {"tls_certificate": ours.signed, "tls_key": ours.issue("other")}
    said = r"signed\.pem and .*other\.pem cannot be used \(KEY_VALUES_MISMATCH\)"
    with pytest.raises(SettingsError, match=said), receiving(sqlite, tmp_path, dicom=files):
        pass
    with pytest.raises(SettingsError, match=said), answering(sqlite, **files):
        pass


@pytest.mark.peer
def test_questions_are_asked_over_tls(sqlite: Database, ours: Certificates) -> None:
    """The query service serves the same way."""
    reader = ours.issue("reader")
    with answering(sqlite, plain=False, **mutual(ours)) as service:
        answered = echoscu(service.tls_port, "+tls", reader, reader, "+cf", ours.authority, called=AE_TITLE)
        refused = echoscu(service.tls_port, "+tla", "+cf", ours.authority, called=AE_TITLE)
    assert (answered.returncode, refused.returncode) == (0, 1)


@pytest.mark.peer
def test_objects_go_to_a_pacs_over_mutual_tls(tmp_path: Path, ours: Certificates) -> None:
    """DCMTK's storescp demands a certificate and gets ours; without one, nothing is stored."""
    files = save(head(2), tmp_path / "files")
    options = ["+tls", str(ours.signed), str(ours.signed), "+cf", str(ours.authority)]
    with storescp(tmp_path, *options) as (pacs, stored):
        known = Peer(host=pacs.host, port=pacs.port, ae_title="PACS", tls=shows(ours, ours.issue("triage")))
        assert [sent.error for sent in store(files, known, calling="TRIAGE")] == [None, None]
        assert len(list(stored.iterdir())) == 2
        unknown = ClientTls(tls=True, ca_file=ours.authority)
        with pytest.raises(DeliveryError, match="our certificate is not to its liking"):
            echo(Peer(host=pacs.host, port=pacs.port, ae_title="PACS", tls=unknown), calling="TRIAGE")


@pytest.mark.risk("R-103")
def test_a_pacs_that_cannot_be_trusted_gets_nothing(
    sqlite: Database, tmp_path: Path, ours: Certificates
) -> None:
    """Of another authority, for another host, or not encrypted: no association, and the error says why."""
    foreign = make_certificates(tmp_path / "foreign")
    elsewhere = ours.issue("elsewhere", address="127.0.0.9")

    def refusal(receiver: Receiver, tls: ClientTls) -> str:
        with pytest.raises(DeliveryError) as told:
            echo(with_tls(receiver.tls_port or receiver.port, tls), calling="TRIAGE", timeout_s=5)
        return str(told.value)

    trusting = ClientTls(tls=True, ca_file=ours.authority)
    with receiving(sqlite, tmp_path, dicom={"tls_certificate": foreign.signed}) as receiver:
        assert "no TLS connection: certificate signature failure" in refusal(receiver, trusting) or (
            "unable to get local issuer" in refusal(receiver, trusting)
        )
    with receiving(sqlite, tmp_path, dicom={"tls_certificate": elsewhere}) as receiver:
        assert "IP address mismatch" in refusal(receiver, trusting)
    with receiving(sqlite, tmp_path, dicom={"network_timeout_s": 2.0}) as receiver:
        assert "no TLS connection" in refusal(receiver, trusting)
    broken = ClientTls(tls=True, ca_file=tmp_path / "nothing.pem")
    with pytest.raises(DeliveryError, match=r"ca_file .*nothing\.pem"):
        echo(with_tls(1, broken), calling="TRIAGE")


def test_destinations_and_subscribers_carry_their_certificates() -> None:
    """What is configured is what the association is opened with."""
    where = {"name": "a", "host": "h", "port": 2762, "ae_title": "A"}
    for configured in (DicomDestination, Subscriber):
        assert Peer.of(configured(**where)).tls is None
        assert Peer.of(configured(**where, tls=True, ca_file="ca.pem")).tls.ca_file == Path("ca.pem")


def run(*arguments: object) -> Result:
    """`ich-triage` in this process, in which the receiver logs, too."""
    with capture_logs():
        return CliRunner().invoke(app, [str(each) for each in arguments])


def doctor(config: Path) -> dict[str, dict[str, str]]:
    """Its findings by subject."""
    told = run("--config", config, "doctor", "--no-model", "--json")
    return {each["subject"]: each for each in json.loads(told.stdout)}


def test_what_is_sent_for_trial_is_sent_over_tls(
    sqlite: Database, tmp_path: Path, ours: Certificates, wait_until: Wait
) -> None:
    """`ich-triage send` shows a certificate; without one, it says that the listener takes TLS alone."""
    save(head(2), tmp_path / "files")
    with receiving(sqlite, tmp_path, dicom=mutual(ours, plain=False)) as receiver:
        dicom = {"ae_title": AE_TITLE, "plain": False, "tls_port": receiver.tls_port}
        dicom["tls_certificate"] = str(ours.signed)
        base = ("--config", write_config(tmp_path, dicom=dicom), "send", tmp_path / "files")
        assert "add --tls" in run(*base).output
        assert "need --tls" in run(*base, "--ca-file", ours.authority).output
        shown = ("--tls", "--ca-file", ours.authority, "--certificate-file", ours.issue("scanner"))
        assert run(*base, *shown).exit_code == 0
        wait_until(lambda: count_indexed(sqlite) == 2, what="the index")


@pytest.mark.parametrize(
    ("state", "level", "words"),
    [
        ("fresh", "warning", "good until"),
        ("expired", "error", "expired on"),
        ("broken", "error", "cannot be used"),
        ("foreign port", "error", "nor does TLS answer there"),
    ],
)
def test_doctor_looks_at_certificates(
    sqlite: Database, tmp_path: Path, ours: Certificates, state: str, level: str, words: str
) -> None:
    """How long it is good, whether it can be served, and whether the port is ours; each with a remedy."""
    dicom = {"tls_certificate": str(ours.signed), "network_timeout_s": 2.0}
    with receiving(sqlite, tmp_path, dicom=dicom) as running:
        port = running.port if state == "foreign port" else running.tls_port
        if state == "expired":
            ours.issue("signed", address="127.0.0.1", expired=True)
        if state == "broken":
            ours.signed.write_text("half a certifi")
        found = doctor(write_config(tmp_path, dicom=dicom | {"tls_port": port}))["DICOM port, TLS"]
    assert (found["level"], bool(found["remedy"])) == (level, True)
    assert words in found["seen"]


def test_doctor_is_turned_away_like_any_stranger(sqlite: Database, tmp_path: Path) -> None:
    """With a list of peers that is what it should see, and not an error."""
    listed = {"name": "ct1", "ae_title": "CT1", "rights": ["store"]}
    with receiving(sqlite, tmp_path, peers=[listed]) as receiver:
        config = write_config(tmp_path, port=receiver.port, dicom={"ae_title": AE_TITLE})
        config.write_text(config.read_text() + "[[peers]]\nname = 'ct'\nae_title = 'CT1'\nrights = []\n")
        found = doctor(config)["DICOM port"]
    assert (found["level"], "turns away" in found["seen"]) == ("ok", True)
