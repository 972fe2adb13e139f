"""What the audit trail is told of those who ask, and of what they do with procedure steps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pynetdicom import evt

from ..domain.audit import AuditEvent, PeerRecord
from ..telemetry import audit


def asked(event: evt.Event) -> None:
    """Who has asked by which SOP Class; not what for, since keys may name patients."""
    audit.tell(_record(event, AuditEvent.QUERIED, sop_classes={str(event.context.abstract_syntax): 1}))


def changed(event: evt.Event, study_instance_uid: str | None) -> None:
    """Who has claimed, ended, canceled or set a step of a study; or, without one, subscribed to all."""
    sop_classes = {} if study_instance_uid else {str(event.context.abstract_syntax): 1}
    audit.tell(_record(event, AuditEvent.STEP_CHANGED, study_instance_uid, sop_classes=sop_classes))


def _record(
    event: evt.Event,
    what: AuditEvent,
    study_instance_uid: str | None = None,
    *,
    sop_classes: Mapping[str, int],
) -> PeerRecord:
    requestor = event.assoc.requestor
    return PeerRecord(
        at=datetime.now(UTC),
        event=what,
        ae_title=requestor.ae_title,
        address=requestor.address or "",
        study_instance_uid=study_instance_uid,
        sop_classes=sop_classes,
    )
