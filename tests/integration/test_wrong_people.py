"""Wrong people: whoever should not be let in is not, and the audit trail has it in database and file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy import select

from ich_triage.dicom.scu import Peer, echo
from ich_triage.domain.roles import Role
from ich_triage.errors import DeliveryError
from ich_triage.settings import Audit as AuditSettings
from ich_triage.settings import ClientTls
from ich_triage.store import tokens
from ich_triage.store.account_tables import Audit
from ich_triage.store.database import Database
from ich_triage.telemetry import audit
from ich_triage.telemetry.audit_trail import Trail
from ich_triage.telemetry.refusals import Refusals
from tests.asking import answering
from tests.audit_schema import check
from tests.certificates import make_certificates
from tests.receiving import AE_TITLE, associated, receiving
from tests.web import add_account, browser, csrf_token, log_in

ECHO = [(Verification, ExplicitVRLittleEndian)]
LISTED = [
    {"name": "ct1", "ae_title": "CT1", "rights": ["store"], "addresses": ["127.0.0.2"]},
    {"name": "ct2", "ae_title": "CT2", "rights": ["store"], "certificate_name": "ct2.example"},
]


@contextmanager
def trail(folder: Path) -> Iterator[list[Element]]:
    """A process with an audit file; what it has written is in the list once the process has ended."""
    messages: list[Element] = []
    file = folder / "audit.xml"
    with audit.kept("receiver", Trail(AuditSettings(file=file), "receiver")):
        yield messages
    messages += [fromstring(line) for line in file.read_text().splitlines()]


def records(database: Database) -> list[Audit]:
    """Every row of the audit trail."""
    with database.read() as session:
        return list(session.scalars(select(Audit).order_by(Audit.id)))


@pytest.mark.parametrize(
    ("who", "event", "reason"),
    [
        ("no certificate", "connection_refused", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ("expired certificate", "connection_refused", "certificate has expired"),
        ("another's certificate", "association_refused", "certificate_not_of_this_peer"),
        ("wrong AE title", "association_refused", "calling_ae_title_not_recognized"),
        ("wrong address", "association_refused", "address_not_of_this_peer"),
    ],
)
def test_who_should_not_come_in_is_refused_and_audited(
    sqlite: Database, tmp_path: Path, who: str, event: str, reason: str
) -> None:
    """One row and one message say from where, why and how often, whatever it was that did not fit."""
    ours = make_certificates(tmp_path / "certificates")
    shown = {
        "no certificate": None,
        "expired certificate": ours.issue("ct2.example", expired=True),
        "another's certificate": ours.issue("ct3.example"),
    }
    dicom = {"tls_certificate": ours.signed, "tls_client_ca": ours.authority}
    with trail(tmp_path) as messages, receiving(sqlite, tmp_path, dicom=dicom, peers=LISTED) as receiver:
        for _ in range(3):
            if who in shown:
                tls = ClientTls(tls=True, ca_file=ours.authority, certificate_file=shown[who])
                us = Peer(host="127.0.0.1", port=receiver.tls_port, ae_title=AE_TITLE, tls=tls)
                with pytest.raises(DeliveryError):
                    echo(us, calling="CT2", timeout_s=5)
            else:
                calling = "STRANGER" if who == "wrong AE title" else "CT1"
                with associated(receiver.port, ECHO, calling=calling) as refused:
                    assert refused.is_rejected
    rows = [row for row in records(sqlite) if row.event == event]
    assert {(row.address, row.asked) for row in rows} == {("127.0.0.1", reason)}
    assert sum(row.rows or 0 for row in rows) == 3
    told = [each for each in messages if each[0][0].attrib["csd-code"] == "110113"]
    assert len(told) == len(rows) <= 2
    for message in told:
        check(message)
        assert message[0].attrib["EventOutcomeIndicator"] == "4"


def test_strangers_at_the_questions_are_audited_too(sqlite: Database, tmp_path: Path) -> None:
    """The query service has the same doors."""
    with (
        trail(tmp_path) as messages,
        answering(sqlite, peers=LISTED[:1]) as service,
        associated(service.port, ECHO, calling="STRANGER") as refused,
    ):
        assert refused.is_rejected
    [row] = [row for row in records(sqlite) if row.event == "association_refused"]
    assert (row.about, row.address, row.rows) == ("STRANGER", "127.0.0.1", 1)
    assert "110113" in [each[0][0].attrib["csd-code"] for each in messages]


@pytest.mark.parametrize("token", ["revoked", "expired", "forged"])
def test_a_token_that_is_shown_again_opens_nothing(sqlite: Database, tmp_path: Path, token: str) -> None:
    """Copied before it was revoked or ran out, or made up: refused each time, one row a minute."""
    now = datetime.now(UTC)
    made = now - timedelta(days=2) if token == "expired" else now
    with sqlite.write() as session:
        secret = tokens.make(session, "dashboard", days=1, now=made)
        if token == "revoked":
            tokens.revoke(session, "dashboard", now)
    shown = secret + "x" if token == "forged" else secret
    with trail(tmp_path) as messages:
        client = browser(sqlite)
        for _ in range(3):
            answer = client.get("/api/v1/worklist", headers={"authorization": f"Bearer {shown}"})
            assert answer.status_code == 401
    [row] = [row for row in records(sqlite) if row.event == "token_refused"]
    assert (row.actor, row.address) == ("", "testclient")
    [refused] = [each for each in messages if each[0][0].attrib["csd-code"] == "110114"]
    assert refused[0].attrib["EventOutcomeIndicator"] == "4"


def test_a_session_that_is_shown_again_after_the_log_out_opens_nothing(sqlite: Database) -> None:
    """A copied cookie is worth nothing once its session has ended."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    client = browser(sqlite)
    log_in(client, "reader")
    copied = client.cookies["ich_session"]
    client.post("/logout", data={"csrf_token": csrf_token(client.get("/account").text)})
    thief = browser(sqlite)
    thief.cookies.set("ich_session", copied)
    assert thief.get("/api/v1/worklist").status_code == 401


def test_a_flood_of_refusals_is_few_records_and_none_is_lost_without_a_database() -> None:
    """Beyond a number, addresses are counted together; what the database did not take is offered again."""
    kept: list[object] = []
    away = [True]

    def write(rows: object) -> None:
        if away:
            away.pop()
            raise ConnectionError
        kept.extend(rows)  # type: ignore[call-overload]

    refusals = Refusals(write)
    for number in range(5000):
        refusals.connection(f"10.0.{number // 250}.{number % 250}", "too many connections")
    refusals.tell()
    assert kept == []
    refusals.connection("10.0.0.1", "too many connections")
    refusals.tell()
    refusals.tell(all_of_it=True)
    assert len(kept) <= 1001
    assert sum(each.count for each in kept) >= 5000  # type: ignore[attr-defined]
