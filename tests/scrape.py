"""What Prometheus reads, parsed by its own library; and a site that has something of everything to tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from ich_triage.domain.states import DeliveryState, OutputKind, StudyState
from ich_triage.intake.counts import Counts
from ich_triage.store import receivers, workers
from ich_triage.store.database import Database
from ich_triage.store.tables import Delivery, Revision, Worker
from ich_triage.telemetry import metrics
from tests.listed import put_on_list

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]
PACKAGE = "embedded-1.0.0-0123456789ab"


def read(text: str) -> Samples:
    """Name of the sample → labels → value."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def receivers_own() -> bytes:
    """What a receiver tells from its start."""
    Counts(registry := metrics.registry("receiver"))
    return metrics.encode(registry, "")[0]


def fill(database: Database) -> None:
    """Studies in several states, with deliveries, and two processes that live."""
    uids = [put_on_list(database, "DOE^JANE", state) for state in StudyState]
    with database.write() as session:
        now = datetime.now(UTC)
        receivers.heartbeat(session, receiver_id="r", host="h", pid=1)
        worker = Worker(id="w", host="h", pid=1, started_at=now, seen_at=now, package=PACKAGE)
        workers.heartbeat(session, worker)
        for revision in session.scalars(select(Revision).where(Revision.stored_at.is_not(None))):
            revision.inferred_at = (revision.started_at or now) + timedelta(seconds=5)
            session.add_all(_deliveries(revision))
    assert len(uids) == len(StudyState)


def _deliveries(revision: Revision) -> Iterator[Delivery]:
    for kind, state in ((OutputKind.SR, DeliveryState.SENT), (OutputKind.CAPTURE, DeliveryState.PENDING)):
        yield Delivery(
            revision=revision,
            destination="pacs",
            kind=kind,
            sop_class_uid="",
            sop_instance_uid=f"1.2.{revision.id}.{kind}",
            path="",
            state=state,
            sent_at=revision.stored_at + timedelta(seconds=3) if state is DeliveryState.SENT else None,
        )
