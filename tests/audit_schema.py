"""What PS3.15 section A.5.1 allows in an audit message, as tables, and a judge of messages by them."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import datetime
from xml.etree.ElementTree import Element

#: element → its children in order, as a pattern over their names
_CHILDREN = {
    "AuditMessage": r"EventIdentification( ActiveParticipant)+ AuditSourceIdentification"
    r"( ParticipantObjectIdentification)*",
    "EventIdentification": r"EventID( EventTypeCode)*( EventOutcomeDescription)?",
    "ActiveParticipant": r"(RoleIDCode ?)*( ?MediaIdentifier)?",
    "AuditSourceIdentification": r"(AuditSourceTypeCode ?)*",
    "ParticipantObjectIdentification": r"ParticipantObjectIDTypeCode"
    r" (ParticipantObjectName|ParticipantObjectQuery)"
    r"( ParticipantObjectDetail)*( ParticipantObjectDescription)*",
    "ParticipantObjectDescription": r"(MPPS ?)*(Accession ?)*(SOPClass ?)*(ParticipantObjectContainsStudy)?",
}
#: element → attribute → the values that it may have, as a pattern
_ANY, _UID = r"(?s).+", r"[0-2](\.(0|[1-9][0-9]*))*"
_CODED = {"csd-code": _ANY, "codeSystemName": _ANY, "displayName": _ANY, "originalText": _ANY}
_ATTRIBUTES = {
    "AuditMessage": {},
    "EventIdentification": {
        "EventActionCode": "[CRUDE]",
        "EventDateTime": _ANY,
        "EventOutcomeIndicator": "0|4|8|12",
    },
    "EventID": _CODED,
    "EventTypeCode": _CODED,
    "ActiveParticipant": {
        "UserID": _ANY,
        "AlternativeUserID": _ANY,
        "UserName": _ANY,
        "UserIsRequestor": "true|false",
        "NetworkAccessPointID": _ANY,
        "NetworkAccessPointTypeCode": "[1-5]",
    },
    "RoleIDCode": _CODED,
    "AuditSourceIdentification": {"AuditEnterpriseSiteID": _ANY, "AuditSourceID": _ANY},
    "AuditSourceTypeCode": {"csd-code": "[1-9]"},
    "ParticipantObjectIdentification": {
        "ParticipantObjectID": _ANY,
        "ParticipantObjectTypeCode": "[1-4]",
        "ParticipantObjectTypeCodeRole": r"[1-9]|1\d|2[0-6]",
        "ParticipantObjectDataLifeCycle": r"[1-9]|1[0-5]",
    },
    "ParticipantObjectIDTypeCode": _CODED,
    "ParticipantObjectName": {},
    "ParticipantObjectQuery": {},
    "ParticipantObjectDetail": {"type": _ANY, "value": r"[A-Za-z0-9+/]+=*"},
    "ParticipantObjectDescription": {},
    "SOPClass": {"UID": _UID, "NumberOfInstances": r"\d+"},
}
_REQUIRED = {
    "EventIdentification": {"EventDateTime", "EventOutcomeIndicator"},
    "ActiveParticipant": {"UserID", "UserIsRequestor"},
    "AuditSourceIdentification": {"AuditSourceID"},
    "AuditSourceTypeCode": {"csd-code"},
    "ParticipantObjectIdentification": {"ParticipantObjectID"},
    "SOPClass": {"NumberOfInstances"},
    "ParticipantObjectDetail": {"type", "value"},
    **{
        name: {"csd-code", "codeSystemName", "originalText"}
        for name in ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode")
    },
}


def check(message: Element) -> None:
    """Assert that a message is as the schema wants it; one participant at most is the requestor (A.5.2)."""
    for element in message.iter():
        allowed = _ATTRIBUTES[element.tag]
        children = " ".join(child.tag for child in element)
        assert re.fullmatch(_CHILDREN.get(element.tag, ""), children), (element.tag, children)
        assert _REQUIRED.get(element.tag, set()) <= element.attrib.keys() <= allowed.keys(), element.attrib
        for name, value in element.attrib.items():
            assert re.fullmatch(allowed[name], value), (name, value)
    at = message.find("EventIdentification")
    assert at is not None
    assert datetime.fromisoformat(at.attrib["EventDateTime"]).tzinfo is not None
    for query in message.iter("ParticipantObjectQuery"):
        b64decode(query.text or "", validate=True)
    requestors = [each for each in message.iter("ActiveParticipant") if each.get("UserIsRequestor") == "true"]
    assert len(requestors) <= 1
