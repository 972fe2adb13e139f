"""What only the receiver knows of its work, for Prometheus (docs/metrics.md)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge
from pynetdicom import evt

from ..dicom.admission import REASONS
from ..dicom.transport import rejection

#: why an association is rejected (PS3.8 Table 9-21), in the words of `rejection`
REJECTIONS = ("called_ae_title_not_recognized", *REASONS)
#: what an object may be answered (PS3.4 Table B.2-1, PS3.7 Annex C): out of resources, cannot understand, SOP
#: class not supported
FAILURES = (0xA700, 0xC000, 0x0122)


class Counts:
    """Counters of one receiver, from its start."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Without a `registry` nobody is told."""
        self._accepted = Counter(
            "ich_triage_receiver_associations_accepted",
            "Associations that were established.",
            registry=registry,
        )
        self._rejected = Counter(
            "ich_triage_receiver_associations_rejected",
            "Associations that were rejected, by reason.",
            ["reason"],
            registry=registry,
        )
        self._objects = Counter(
            "ich_triage_receiver_objects",
            "Objects that were stored durably and acknowledged.",
            registry=registry,
        )
        self._bytes = Counter(
            "ich_triage_receiver_objects_bytes", "Bytes of these objects, as files.", registry=registry
        )
        self._refused = Counter(
            "ich_triage_receiver_objects_refused",
            "Objects that were answered with a failure, by DIMSE status.",
            ["status"],
            registry=registry,
        )
        #: associations that are open now
        self.open = Gauge(
            "ich_triage_receiver_associations_open", "Associations that are open now.", registry=registry
        )
        #: acknowledged objects that wait for the index
        self.inbox = Gauge(
            "ich_triage_receiver_inbox_objects",
            "Acknowledged objects that are not in the database yet.",
            registry=registry,
        )

        # there from the start, so that the first one is seen as a change
        for reason in REJECTIONS:
            self._rejected.labels(reason)
        for status in FAILURES:
            self._refused.labels(f"{status:04X}")

    def on_established(self, _event: evt.Event) -> None:
        """Handler of EVT_ESTABLISHED."""
        self._accepted.inc()

    def on_rejected(self, event: evt.Event) -> None:
        """Handler of EVT_REJECTED."""
        self._rejected.labels(rejection(event.assoc)).inc()

    def stored(self, size: int) -> None:
        """An object of `size` bytes was acknowledged."""
        self._objects.inc()
        self._bytes.inc(size)

    def refused(self, status: int) -> None:
        """An object was answered with `status`."""
        self._refused.labels(f"{status:04X}").inc()
