"""Audit messages are as PS3.15 A.5 wants them, for every event there is."""

from __future__ import annotations

import os
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from pydicom.sr._concepts_dict import concepts

from ich_triage.domain.audit import AuditEvent, AuditRecord, PeerRecord
from ich_triage.settings import Audit
from ich_triage.telemetry import audit_message
from ich_triage.telemetry.audit_message import Writer
from tests.audit_schema import check

DOC = Path(__file__).parents[3] / "docs/audit.md"
AT = datetime(2026, 3, 4, 5, 6, 7, 891000, tzinfo=UTC)
STUDY = "1.2.826.0.1.3680043.8.498.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
_OF_PEERS = {
    AuditEvent.INSTANCES_RECEIVED,
    AuditEvent.INSTANCES_SENT,
    AuditEvent.QUERIED,
    AuditEvent.ASSOCIATION_REFUSED,
    AuditEvent.CONNECTION_REFUSED,
    AuditEvent.STEP_CHANGED,
}


def _written(record: AuditRecord | PeerRecord, patient_id: str | None = None) -> Element:
    message = Writer(Audit(site_id="St Elsewhere"), "web").message(record, patient_id)
    assert b"\n" not in message.xml
    return fromstring(message.xml)


def _by_person(event: AuditEvent, **fields: object) -> Element:
    return _written(AuditRecord(at=AT, event=event, actor="reader", address="10.1.2.3", **fields))  # type: ignore[arg-type]


def _by_peer(event: AuditEvent, **fields: object) -> Element:
    return _written(PeerRecord(at=AT, event=event, ae_title="CT1", address="10.1.2.4", **fields))  # type: ignore[arg-type]


def _told(message: Element) -> tuple[str, str | None, str, str]:
    """Event ID, event type, action, outcome."""
    event, type_code = message[0], message[0].find("EventTypeCode")
    return (
        event[0].attrib["csd-code"],
        None if type_code is None else type_code.attrib["csd-code"],
        event.attrib["EventActionCode"],
        event.attrib["EventOutcomeIndicator"],
    )


def _roles(message: Element) -> dict[str, str | None]:
    """UserID → role."""
    found = {}
    for each in message.iter("ActiveParticipant"):
        role = each.find("RoleIDCode")
        found[each.attrib["UserID"]] = None if role is None else role.attrib["csd-code"]
    return found


@pytest.mark.parametrize("event", AuditEvent)
@pytest.mark.risk("R-119")
def test_every_event_has_a_message_that_the_schema_allows(event: AuditEvent) -> None:
    """With all that a record may hold, and with as little as it can hold."""
    if event in _OF_PEERS:
        check(_by_peer(event, study_instance_uid=STUDY, sop_classes={CT: 28}))
        check(_by_peer(event))
    else:
        check(_by_person(event, study_instance_uid=STUDY, rows=3, asked="from 0", about="other"))
        check(_written(AuditRecord(at=AT, event=event, actor="")))


@pytest.mark.parametrize("event", AuditEvent)
def test_every_event_is_documented_with_its_message(event: AuditEvent) -> None:
    """docs/audit.md has event, codes, action and outcome as they are written."""
    record = (
        PeerRecord(at=AT, event=event, ae_title="CT1", address="h")
        if event in _OF_PEERS
        else AuditRecord(at=AT, event=event, actor="reader", study_instance_uid=STUDY)
    )
    told = _told(_written(record))
    rows = [line.split("|")[1:-1] for line in DOC.read_text().splitlines() if f"`{event}`" in line]
    documented = [(row[1].split()[0], row[2].split()[0], row[3].strip(), row[4].strip()) for row in rows]
    assert (told[0], told[1] or "–", *told[2:]) in documented


def test_codes_have_the_meanings_of_the_standard() -> None:
    """Each code is in DCM (PS3.16 Annex D) under that meaning, as pydicom carries it."""
    standard = {code: meaning for each in concepts["DCM"].values() for code, (meaning, *_) in each.items()}
    assert audit_message.CODES.items() <= standard.items()


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (AuditEvent.APPLICATION_STARTED, ("110100", "110120", "E", "0")),
        (AuditEvent.APPLICATION_STOPPED, ("110100", "110121", "E", "0")),
        (AuditEvent.STUDY_VIEWED, ("110103", None, "R", "0")),
        (AuditEvent.FEEDBACK_GIVEN, ("110103", None, "U", "0")),
        (AuditEvent.LIST_VIEWED, ("110112", None, "E", "0")),
        (AuditEvent.LOGIN_SUCCEEDED, ("110114", "110122", "E", "0")),
        (AuditEvent.LOGIN_FAILED, ("110114", "110122", "E", "4")),
        (AuditEvent.LOGGED_OUT, ("110114", "110123", "E", "0")),
        (AuditEvent.ACCESS_REFUSED, ("110113", "110132", "E", "4")),
        (AuditEvent.ROLE_CHANGED, ("110113", "110137", "E", "0")),
    ],
)
def test_each_event_is_the_right_one(event: AuditEvent, told: tuple[str, str | None, str, str]) -> None:
    """A.5.3.1, .6, .10, .11 and .12: event, type, action and outcome."""
    assert _told(_by_person(event, study_instance_uid=STUDY)) == told


def test_a_study_that_was_looked_at() -> None:
    """Who, from where, which study (A.5.3.6); the source says which installation tells it."""
    message = _by_person(AuditEvent.STUDY_VIEWED, study_instance_uid=STUDY)
    assert message[0].attrib["EventDateTime"] == "2026-03-04T05:06:07.891+00:00"
    person = message[1].attrib
    assert (person["UserID"], person["UserIsRequestor"]) == ("reader", "true")
    assert (person["NetworkAccessPointID"], person["NetworkAccessPointTypeCode"]) == ("10.1.2.3", "2")
    source = message.find("AuditSourceIdentification")
    assert source is not None
    assert source.attrib == {"AuditSourceID": "ICH_TRIAGE", "AuditEnterpriseSiteID": "St Elsewhere"}
    (study,) = message.iter("ParticipantObjectIdentification")
    assert study[0].attrib["csd-code"] == "110180"
    assert study.attrib["ParticipantObjectID"] == STUDY


def test_the_patient_is_named_only_where_that_is_wanted() -> None:
    """With the ID, the message has the patient that A.5.3.6 asks for; without, nothing of one."""
    record = AuditRecord(at=AT, event=AuditEvent.STUDY_VIEWED, actor="reader", study_instance_uid=STUDY)
    assert not [each for each in _written(record).iter() if each.get("ParticipantObjectTypeCode") == "1"]
    named = _written(record, "ID7")
    check(named)
    (patient,) = (each for each in named.iter() if each.get("ParticipantObjectTypeCode") == "1")
    assert (patient.attrib["ParticipantObjectID"], patient[0].attrib["csd-code"]) == ("ID7", "2")


def test_a_list_is_a_question() -> None:
    """The list's filters are its query, of which the person is the source and we are the destination."""
    for message in (
        _by_person(AuditEvent.LIST_VIEWED, rows=12, asked="flagged from 0"),
        _by_person(AuditEvent.API_READ, rows=12, asked="flagged from 0"),
    ):
        (query,) = message.iter("ParticipantObjectQuery")
        assert b64decode(query.text or "") == b"flagged from 0 rows 12"
        assert _told(message)[0] == "110112"
        assert _roles(message) == {"reader": "110153", str(os.getpid()): "110152"}


def test_objects_that_travelled() -> None:
    """A.5.3.7: who sent, who received, how many of which class; we send what we made."""
    came = _by_peer(AuditEvent.INSTANCES_RECEIVED, study_instance_uid=STUDY, sop_classes={CT: 28})
    assert _told(came) == ("110104", None, "C", "0")
    assert _roles(came) == {"10.1.2.4": "110153", str(os.getpid()): "110152"}
    assert came[1].attrib["AlternativeUserID"] == "AETITLES=CT1"
    (kind,) = came.iter("SOPClass")
    assert kind.attrib == {"UID": CT, "NumberOfInstances": "28"}
    went = _by_peer(AuditEvent.INSTANCES_SENT, study_instance_uid=STUDY, sop_classes={CT: 1})
    assert _roles(went) == {"10.1.2.4": "110152", str(os.getpid()): "110153"}
    assert [each.get("UserIsRequestor") for each in went.iter("ActiveParticipant")] == ["false", "true"]


def test_other_systems_that_ask_and_that_are_refused() -> None:
    """A.5.3.10 names the SOP Class that was asked; A.5.3.11 the node that was not let in."""
    asked = _by_peer(AuditEvent.QUERIED, sop_classes={"1.2.840.10008.5.1.4.1.2.2.1": 1})
    (what,) = asked.iter("ParticipantObjectIdentification")
    assert what[0].attrib["originalText"] == "SOP Class UID"
    refused = _by_peer(AuditEvent.ASSOCIATION_REFUSED)
    assert _told(refused) == ("110113", "110126", "E", "4")
    (node,) = refused.iter("ParticipantObjectIdentification")
    assert node.attrib["ParticipantObjectID"] == "10.1.2.4"
    flood = _by_peer(AuditEvent.CONNECTION_REFUSED, reason="certificate has expired", count=12)
    (why,) = flood.iter("ParticipantObjectDetail")
    assert why.attrib["type"] == "Alert Description"
    assert b64decode(why.attrib["value"]) == b"certificate has expired, 12 times"


def test_a_step_that_another_system_has_changed() -> None:
    """A Procedure Record of its study; a subscription to all names the SOP Class."""
    changed = _by_peer(AuditEvent.STEP_CHANGED, study_instance_uid=STUDY)
    assert _told(changed) == ("110111", None, "U", "0")
    (study,) = changed.iter("ParticipantObjectIdentification")
    assert study.attrib["ParticipantObjectID"] == STUDY


def test_an_account_that_was_changed() -> None:
    """The alert names who did it and whose rights they were."""
    message = _by_person(AuditEvent.ROLE_CHANGED, about="other")
    (account,) = message.iter("ParticipantObjectIdentification")
    assert account.attrib["ParticipantObjectID"] == "other"
    assert "reader" in _roles(message)


def test_what_xml_cannot_carry_is_replaced() -> None:
    """Other people's AE titles and names break no message, and add no element to one."""
    odd = PeerRecord(at=AT, event=AuditEvent.ASSOCIATION_REFUSED, ae_title='A"<&\x00\x1b\ud800', address="h")
    message = _written(odd)
    check(message)
    assert message[1].attrib["AlternativeUserID"] == 'AETITLES=A"<&???'
    assert message[1].attrib["NetworkAccessPointTypeCode"] == "1"
