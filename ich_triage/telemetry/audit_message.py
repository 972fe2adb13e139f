"""Audit messages as DICOM wants them (PS3.15 A.5, schema A.5.1): what stands in file and syslog.

Nothing of a patient but the Study Instance UID; and the Patient ID, where the configuration wants it.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

from ..domain.audit import AuditEvent, AuditRecord, PeerRecord
from ..settings import Audit

#: code values of PS3.16 with their meanings: CID 400 (Event ID), 401 (Event Type), 402 (Role ID),
#: and Participant Object ID Type (PS3.15 Table A.5.2-1)
CODES = {
    "110100": "Application Activity",
    "110103": "DICOM Instances Accessed",
    "110104": "DICOM Instances Transferred",
    "110105": "DICOM Study Deleted",
    "110106": "Export",
    "110111": "Procedure Record",
    "110112": "Query",
    "110113": "Security Alert",
    "110114": "User Authentication",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110122": "Login",
    "110123": "Logout",
    "110126": "Node Authentication",
    "110132": "Use of Restricted Function",
    "110137": "User Security Attributes Changed",
    "110150": "Application",
    "110152": "Destination Role ID",
    "110153": "Source Role ID",
    "110180": "Study Instance UID",
    "110181": "SOP Class UID",
    "110182": "Node ID",
}
#: the same by the numbers of RFC 3881 section 5.5.4 (PS3.15 section A.5.1.2.4)
_RFC_3881 = {"2": "Patient Number", "10": "Search Criteria", "11": "User Identifier"}

SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = 0, 4, 8


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What an event is in the standard's words."""

    #: CID 400
    event_id: str
    #: EventActionCode: C, R, U, D or E
    action: str
    #: CID 401
    type_code: str | None = None
    #: EventOutcomeIndicator
    outcome: int = SUCCESS


def _kind(event_id: str, action: str, type_code: str | None = None, outcome: int = SUCCESS) -> _Kind:
    return _Kind(event_id=event_id, action=action, type_code=type_code, outcome=outcome)


#: each of our events (sections A.5.3.1, .6, .7, .10, .11, .12)
_KINDS: Mapping[AuditEvent, _Kind] = {
    AuditEvent.APPLICATION_STARTED: _kind("110100", "E", "110120"),
    AuditEvent.APPLICATION_STOPPED: _kind("110100", "E", "110121"),
    AuditEvent.STUDY_VIEWED: _kind("110103", "R"),
    AuditEvent.PICTURES_VIEWED: _kind("110103", "R"),
    AuditEvent.API_READ: _kind("110103", "R"),
    AuditEvent.FEEDBACK_GIVEN: _kind("110103", "U"),
    AuditEvent.INSTANCES_RECEIVED: _kind("110104", "C"),
    AuditEvent.INSTANCES_SENT: _kind("110104", "C"),
    AuditEvent.PATIENT_ERASED: _kind("110105", "D"),
    AuditEvent.PATIENT_EXPORTED: _kind("110106", "R"),
    AuditEvent.STUDY_EXPORTED: _kind("110106", "R"),
    AuditEvent.LIST_VIEWED: _kind("110112", "E"),
    AuditEvent.LIST_REFRESHED: _kind("110112", "E"),
    AuditEvent.QUERIED: _kind("110112", "E"),
    AuditEvent.LOGIN_SUCCEEDED: _kind("110114", "E", "110122"),
    AuditEvent.LOGIN_FAILED: _kind("110114", "E", "110122", MINOR_FAILURE),
    AuditEvent.LOGIN_LIMITED: _kind("110114", "E", "110122", MINOR_FAILURE),
    AuditEvent.TOKEN_REFUSED: _kind("110114", "E", "110122", MINOR_FAILURE),
    AuditEvent.STEP_CHANGED: _kind("110111", "U"),
    AuditEvent.LOGGED_OUT: _kind("110114", "E", "110123"),
    AuditEvent.ACCESS_REFUSED: _kind("110113", "E", "110132", MINOR_FAILURE),
    AuditEvent.ASSOCIATION_REFUSED: _kind("110113", "E", "110126", MINOR_FAILURE),
    AuditEvent.CONNECTION_REFUSED: _kind("110113", "E", "110126", MINOR_FAILURE),
    **{
        event: _kind("110113", "E", "110137")
        for event in (
            AuditEvent.ACCOUNT_ADDED,
            AuditEvent.ROLE_CHANGED,
            AuditEvent.PASSWORD_CHANGED,
            AuditEvent.ACCOUNT_DISABLED,
            AuditEvent.ACCOUNT_ENABLED,
            AuditEvent.SESSIONS_ENDED,
            AuditEvent.TOKEN_MADE,
            AuditEvent.TOKEN_REVOKED,
        )
    },
}
_TURNED_AWAY = frozenset({AuditEvent.ASSOCIATION_REFUSED, AuditEvent.CONNECTION_REFUSED})
_LIST = _kind("110112", "E")
#: what XML 1.0 has no character for (section 2.2)
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One audit message."""

    #: when it happened
    at: datetime
    #: EventOutcomeIndicator: 0, 4, 8 or 12
    outcome: int
    #: AuditMessage in UTF-8, one line
    xml: bytes


class Writer:
    """Writes the messages of one process."""

    def __init__(self, settings: Audit, process: str) -> None:
        self._settings = settings
        self._process = process

    def message(self, record: AuditRecord | PeerRecord, patient_id: str | None = None) -> Message:
        """What the standard wants to be said of `record`."""
        kind = _kind_of(record)
        root = Element("AuditMessage")
        event = SubElement(
            root,
            "EventIdentification",
            EventActionCode=kind.action,
            EventDateTime=record.at.isoformat(timespec="milliseconds"),
            EventOutcomeIndicator=str(kind.outcome),
        )
        _coded(event, "EventID", kind.event_id)
        if kind.type_code:
            _coded(event, "EventTypeCode", kind.type_code)
        if isinstance(record, PeerRecord):
            self._systems(root, record)
        else:
            self._person(root, record, kind)
        self._source(root)
        _objects(root, record, kind)
        if patient_id:
            _object(root, ("1", "1"), "2", patient_id, name=patient_id)
        return Message(at=record.at, outcome=kind.outcome, xml=tostring(root, encoding="utf-8"))

    def _ours(self, root: Element, *, role: str | None, requestor: bool = False) -> None:
        """This process, by what the log calls it."""
        ours = {"UserID": str(os.getpid()), "UserName": f"ich-triage {self._process}"}
        _participant(root, ours, role=role, requestor=requestor)

    def _person(self, root: Element, record: AuditRecord, kind: _Kind) -> None:
        """Who did it, and where; a process that starts has nobody beside it."""
        if kind.event_id == "110100":
            self._ours(root, role="110150")
            return
        person = {"UserID": record.actor or "unknown"} | _access_point(record.address)
        asks, alert = kind.event_id == "110112", kind.event_id == "110113"
        _participant(root, person, role="110153" if asks else None, requestor=not alert)
        self._ours(root, role="110152" if asks else None, requestor=alert)

    def _systems(self, root: Element, record: PeerRecord) -> None:
        """Who sent or asked, and who received or answered: two AEs; we began where we sent, or refuse."""
        sent = record.event is AuditEvent.INSTANCES_SENT
        ours_began = sent or record.event in _TURNED_AWAY
        ends = ("110152", "110153") if sent else ("110153", "110152")
        theirs, ours = (None, None) if record.event in _TURNED_AWAY else ends
        peer = {"UserID": record.address or record.ae_title or "unknown"}
        if record.ae_title:
            peer["AlternativeUserID"] = f"AETITLES={record.ae_title}"
        _participant(root, peer | _access_point(record.address), role=theirs, requestor=not ours_began)
        self._ours(root, role=ours, requestor=ours_began)

    def _source(self, root: Element) -> None:
        names = {"AuditSourceID": self._settings.source_id}
        if self._settings.site_id:
            names["AuditEnterpriseSiteID"] = self._settings.site_id
        source = SubElement(root, "AuditSourceIdentification", _clean(names))
        # application server process (PS3.15 section A.5.1.2.1)
        SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})


def _kind_of(record: AuditRecord | PeerRecord) -> _Kind:
    """A list that a program reads is a question, too."""
    reads_list = record.event is AuditEvent.API_READ and record.study_instance_uid is None
    return _LIST if reads_list else _KINDS[record.event]


def _objects(root: Element, record: AuditRecord | PeerRecord, kind: _Kind) -> None:
    """What it was done to: a study, a question, an account, a node."""
    uid = record.study_instance_uid
    if uid:
        study = _object(root, ("2", "3"), "110180", uid, name="Study")
        if isinstance(record, PeerRecord):
            described = SubElement(study, "ParticipantObjectDescription")
            for sop_class, count in record.sop_classes.items():
                SubElement(described, "SOPClass", UID=sop_class, NumberOfInstances=str(count))
    elif isinstance(record, PeerRecord):
        for sop_class in record.sop_classes:
            name = "C-FIND" if record.event is AuditEvent.QUERIED else "N-ACTION"
            _object(root, ("2", "3"), "110181", sop_class, name=name)
        if record.event in _TURNED_AWAY:
            address = record.address or "unknown"
            node = _object(root, ("2", "13"), "110182", address, name=record.ae_title or address)
            _alert(node, record)
    elif kind.event_id == "110112":
        asked = " ".join(
            filter(None, (record.asked, f"rows {record.rows}" if record.rows is not None else ""))
        )
        _object(root, ("2", "24"), "10", "worklist", query=asked)
    elif record.about:
        _object(root, ("1", "11"), "11", record.about, name=record.about)


def _alert(node: Element, record: PeerRecord) -> None:
    """Why it was turned away, and how often (section A.5.3.11)."""
    if record.reason:
        described = f"{record.reason}, {record.count or 1} times".encode()
        value = b64encode(described).decode()
        SubElement(node, "ParticipantObjectDetail", {"type": "Alert Description", "value": value})


def _object(
    root: Element,
    is_a: tuple[str, str],
    id_type: str,
    value: str,
    *,
    name: str = "",
    query: str | None = None,
) -> Element:
    """One ParticipantObjectIdentification; `is_a` is its type and role. The schema wants name or query."""
    made = SubElement(
        root,
        "ParticipantObjectIdentification",
        _clean({"ParticipantObjectID": value}),
        ParticipantObjectTypeCode=is_a[0],
        ParticipantObjectTypeCodeRole=is_a[1],
    )
    _coded(made, "ParticipantObjectIDTypeCode", id_type)
    if query is None:
        SubElement(made, "ParticipantObjectName").text = _text(name)
    else:
        SubElement(made, "ParticipantObjectQuery").text = b64encode(query.encode()).decode()
    return made


def _participant(root: Element, names: Mapping[str, str], *, role: str | None, requestor: bool) -> None:
    is_requestor = "true" if requestor else "false"
    made = SubElement(root, "ActiveParticipant", _clean(names), UserIsRequestor=is_requestor)
    if role:
        _coded(made, "RoleIDCode", role)


def _access_point(address: str) -> dict[str, str]:
    """1 is a machine's name, 2 an IP address (schema A.5.1); nothing where it is not known."""
    if not address:
        return {}
    try:
        ip_address(address)
        kind = "2"
    except ValueError:
        kind = "1"
    return {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": kind}


def _coded(parent: Element, name: str, code: str) -> None:
    ours = code in CODES
    meaning, system = (CODES[code], "DCM") if ours else (_RFC_3881[code], "RFC-3881")
    SubElement(parent, name, {"csd-code": code, "codeSystemName": system, "originalText": meaning})


def _clean(names: Mapping[str, str]) -> dict[str, str]:
    return {name: _text(value) for name, value in names.items()}


def _text(value: str) -> str:
    """Without what XML cannot carry: AE titles and names are other people's."""
    return _NO_CHARACTER.sub("?", value)
