"""What the receiver tells the audit trail: who has sent objects of which study.

One record for each association and study, some seconds after its last object. Kept in memory: what a kill
takes from the trail is in the index.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from time import monotonic

from pynetdicom import evt

from ..dicom.transport import association_number
from ..domain.audit import AuditEvent, PeerRecord
from ..store.instances import Received
from ..telemetry import audit

#: silence after which a transfer is told, s
QUIET_S = 5.0
#: how long addresses of ended associations are kept for what the index has not seen yet, s
_KEPT_S = 300.0


@dataclass(kw_only=True)
class _Transfer:
    """Objects of one study over one association."""

    #: who sent them
    ae_title: str
    #: from where
    address: str
    #: by SOP Class
    sop_classes: Counter[str] = field(default_factory=Counter)
    #: when the latest one came
    latest: float = 0.0


class Audited:
    """The receiver's part of the audit trail."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._addresses: dict[int, str] = {}
        self._ended: dict[int, float] = {}
        self._transfers: dict[tuple[int | None, str], _Transfer] = {}

    def on_established(self, event: evt.Event) -> None:
        """Handler of EVT_ESTABLISHED."""
        with self._lock:
            self._addresses[association_number(event)] = event.assoc.requestor.address or ""

    def end(self, number: int) -> None:
        """An association is over."""
        with self._lock:
            self._ended[number] = monotonic()

    def received(self, number: int | None, what: Received) -> None:
        """An object is in its study's folder; `number` is None where a restart lies between."""
        with self._lock:
            address = self._addresses.get(number, "") if number is not None else ""
            key = (number, what.study_instance_uid)
            started = _Transfer(ae_title=what.calling_ae_title, address=address)
            transfer = self._transfers.setdefault(key, started)
            transfer.sop_classes[what.sop_class_uid] += 1
            transfer.latest = monotonic()

    def tell(self, *, quiet_s: float = QUIET_S) -> None:
        """Tell of every transfer that has been silent for so long."""
        with self._lock:
            now = monotonic()
            due = [key for key, each in self._transfers.items() if now - each.latest >= quiet_s]
            told = [(key, self._transfers.pop(key)) for key in due]
            for number in [each for each, at in self._ended.items() if now - at > _KEPT_S]:
                del self._ended[number]
                self._addresses.pop(number, None)
        for (_, study), each in told:
            _tell(each, study)


def _tell(transfer: _Transfer, study: str) -> None:
    record = PeerRecord(
        at=datetime.now(UTC),
        event=AuditEvent.INSTANCES_RECEIVED,
        ae_title=transfer.ae_title,
        address=transfer.address,
        study_instance_uid=study,
        sop_classes=dict(transfer.sop_classes),
    )
    audit.tell(record)
