"""Who was turned away by a listener: one audit record for each address, reason and minute, with how often.

The first is told within seconds, those of the next minute together at its end: a flood fills neither the
trail nor the database. Records that the database does not take at once are offered again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from time import monotonic

import structlog

from ..domain.audit import AuditEvent, PeerRecord
from . import audit

log = structlog.get_logger(__name__)

#: how often `tell` is to be called, s
PERIOD_S = 5.0
#: one record in so long, s
_WINDOW_S = 60.0
#: addresses and reasons kept apart; more are counted together, without address
_MOST = 1000
#: records that wait for the database; what is older is in log, file and syslog
_WAITING = 1000


@dataclass(kw_only=True)
class _Refused:
    """What happened since the latest record."""

    #: AE title of the latest, as it says; empty where it came to none
    ae_title: str = ""
    #: how often
    count: int = 0
    #: when the latest record was made, as `monotonic` has it; None before the first
    told_at: float | None = None


class Refusals:
    """Of one listener. Any thread; `tell` from one at a time."""

    def __init__(self, write: Callable[[Sequence[PeerRecord]], None]) -> None:
        """`write` puts records into the database; what it raises is logged, and they are offered again."""
        self._write = write
        self._lock = Lock()
        self._refused: dict[tuple[AuditEvent, str, str], _Refused] = {}
        self._waiting: deque[PeerRecord] = deque(maxlen=_WAITING)

    def refused(self, event: AuditEvent, address: str, reason: str, *, ae_title: str = "") -> None:
        """Count one; never waits."""
        with self._lock:
            key = (event, address, reason)
            if key not in self._refused and len(self._refused) >= _MOST:
                key, ae_title = (event, "", reason[:32]), ""
            found = self._refused.setdefault(key, _Refused())
            found.count += 1
            found.ae_title = ae_title

    def association(self, address: str, reason: str, ae_title: str) -> None:
        """Count an association that was rejected."""
        self.refused(AuditEvent.ASSOCIATION_REFUSED, address, reason, ae_title=ae_title)

    def connection(self, address: str, reason: str) -> None:
        """Count a connection that came to no association."""
        self.refused(AuditEvent.CONNECTION_REFUSED, address, reason)

    def tell(self, *, all_of_it: bool = False) -> None:
        """Record what is due; `all_of_it` at the end of the process."""
        now = monotonic()
        with self._lock:
            due = []
            for key, found in list(self._refused.items()):
                is_over = found.told_at is None or now - found.told_at >= _WINDOW_S
                if found.count and (is_over or all_of_it):
                    due.append(_record(key, found))
                    found.count, found.told_at = 0, now
                elif is_over:
                    del self._refused[key]
        for record in due:
            audit.tell(record)
        self._waiting.extend(due)
        self._keep()

    def _keep(self) -> None:
        if not self._waiting:
            return
        # broad, since whatever the database raises is as passing as its absence
        try:
            self._write(tuple(self._waiting))
        except Exception as error:  # noqa: BLE001
            log.warning("audit_waits", records=len(self._waiting), error=type(error).__name__)
        else:
            self._waiting.clear()


def _record(key: tuple[AuditEvent, str, str], found: _Refused) -> PeerRecord:
    event, address, reason = key
    return PeerRecord(
        at=datetime.now(UTC),
        event=event,
        ae_title=found.ae_title,
        address=address,
        reason=reason,
        count=found.count,
    )
