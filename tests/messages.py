"""Destinations of messages, reports for them, and what became of those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ich_triage.domain.states import StudyState
from ich_triage.outputs.deliver import Deliverer
from ich_triage.outputs.outbox import Outbox
from ich_triage.outputs.report import Report
from ich_triage.settings import (
    Delivery,
    Destination,
    MllpDestination,
    Settings,
    Spool,
    WebhookDestination,
    Worker,
)
from ich_triage.storage.folder import Folder
from ich_triage.store import deliveries, studies
from ich_triage.store.database import Database
from ich_triage.store.tables import Delivery as Row
from tests.mllp import LOOPBACK
from tests.reports import made_header, made_headers, report_of
from tests.rows import add_revision, later_revision

STUDY = "1.2.3"


def his(port: int, **changes: Any) -> MllpDestination:
    """A hospital information system on loopback that wants every study."""
    values: dict[str, Any] = {"name": "his", "host": LOOPBACK, "port": port, "send": "all"}
    return MllpDestination(kind="mllp", **(values | changes))


def desk(url: str, **changes: Any) -> WebhookDestination:
    """A receiver of webhooks that wants every study."""
    return WebhookDestination(kind="webhook", name="desk", url=url, **({"send": "all"} | changes))


def settings(spool: Path, *destinations: Destination, **policy: Any) -> Settings:
    """Impatient settings: first retry after 50 ms, at most a fifth of a second between two."""
    patience = {"backoff_s": 0.05, "backoff_max_s": 0.2, "max_attempts": 1000, "timeout_s": 10.0}
    return Settings(
        spool=Spool(path=spool),
        worker=Worker(dead_after_s=1.0),
        delivery=Delivery(**(patience | policy)),
        destinations=destinations,
    )


def plan(
    database: Database, using: Settings, *, study: str = STUDY, state: StudyState = StudyState.FLAGGED
) -> None:
    """Render a report of `study` and plan its deliveries, as the pipeline does."""
    report = report_of(made_headers(), state, study_instance_uid=study)
    with database.write() as session:
        deliveries.plan(session, add_revision(session, study, state), rendered(using, report))


def plan_later(database: Database, using: Settings, state: StudyState, **changes: Any) -> None:
    """The same for a second revision of the study."""
    report = report_of(made_headers(), state, revision=2, **changes)
    with database.write() as session:
        revision = later_revision(session, studies.get(session, STUDY), state)
        deliveries.plan(session, revision, rendered(using, report))


def rendered(using: Settings, report: Report) -> Sequence[deliveries.Planned]:
    """The report on disk."""
    header = made_header(
        StudyInstanceUID=report.study_instance_uid,
        PatientName="Doe^Jane",
        PatientID="1",
        AccessionNumber="A1",
    )
    return Outbox(Folder(using.spool.path), using.destinations).render(report, [header])


def rows(database: Database, study: str = STUDY) -> Sequence[Row]:
    """The study's deliveries as they stand."""
    with database.read() as session:
        return deliveries.of_study(session, study)


def states(database: Database, study: str = STUDY) -> list[str]:
    """The states of the study's deliveries, oldest revision first."""
    return [row.state for row in rows(database, study)]


@contextmanager
def delivering(using: Settings, database: Database) -> Iterator[Deliverer]:
    """A running deliverer."""
    deliverer = Deliverer(using, database)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()
