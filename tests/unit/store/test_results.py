"""Revisions from the queue to their final state, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ich_triage.domain.states import CompletedBy, DeliveryState, OutputKind, ReasonCode, StudyState
from ich_triage.store import deliveries, results, studies
from ich_triage.store.database import Database
from ich_triage.store.revisions import open_revision
from ich_triage.store.tables import Delivery, Revision, Study

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FLAGGED, NOT_FLAGGED, FAILED = StudyState.FLAGGED, StudyState.NOT_FLAGGED, StudyState.FAILED


def _study(database: Database, uid: str, *, stat: bool = False, revisions: int = 1) -> list[int]:
    """A study with so many open revisions; returns their ids."""
    with database.write() as session:
        study = Study(study_instance_uid=uid, state=StudyState.RECEIVING, rank=4, stat=stat)
        study.first_slice_at = study.last_slice_at = NOW
        session.add(study)
        session.flush()
        ids = []
        for number in range(revisions):
            when = NOW + timedelta(seconds=number)
            revision = open_revision(session, study, CompletedBy.GEOMETRY, when)
            session.flush()
            ids.append(revision.id)
        return ids


def _finish(database: Database, revision_id: int, state: StudyState, code: ReasonCode | None = None) -> bool:
    with database.write() as session:
        revision = results.unfinished(session, revision_id)
        assert revision is not None
        return results.finish(session, revision, state, code=code, reason="why" if code else None)


def _shown(database: Database, uid: str) -> tuple[str, str | None]:
    with database.read() as session:
        study = studies.get(session, uid)
        return study.state, study.reason_code


def test_urgent_ones_wait_first_and_revisions_in_order(database: Database) -> None:
    """STAT before the longest waiting; a revision only when the one before it is final."""
    routine = _study(database, "1.1", revisions=2)
    urgent = _study(database, "1.2", stat=True)
    with database.read() as session:
        assert [each.id for each in results.waiting(session)] == [*urgent, routine[0]]
    _finish(database, routine[0], NOT_FLAGGED)
    with database.write() as session:
        results.mark_enqueued(session, routine[0], NOW)
        results.mark_enqueued(session, urgent[0], NOW)
        assert [each.id for each in results.waiting(session)] == [routine[1]]
        assert [each.id for each in results.in_queue(session)] == urgent


def test_a_result_is_given_once(database: Database) -> None:
    """Whoever comes second with a revision finds it closed."""
    (revision,) = _study(database, "1.1")
    _finish(database, revision, FLAGGED)
    with database.write() as session:
        assert results.unfinished(session, revision) is None


def test_attempts_are_counted_and_the_first_start_kept(database: Database) -> None:
    """A takeover does not move the ledger."""
    (revision,) = _study(database, "1.1")
    for attempt in (1, 2):
        with database.write() as session:
            begun = results.begin(session, revision, NOW + timedelta(seconds=attempt))
            assert (begun.attempts, begun.started_at) == (attempt, NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (FLAGGED, NOT_FLAGGED, (NOT_FLAGGED, None)),
        (NOT_FLAGGED, FLAGGED, (FLAGGED, None)),
        (FLAGGED, FAILED, (FLAGGED, ReasonCode.WORKER_DIED)),
        (FLAGGED, StudyState.NOT_ANALYSED, (FLAGGED, ReasonCode.WORKER_DIED)),
        (NOT_FLAGGED, FAILED, (FAILED, ReasonCode.WORKER_DIED)),
    ],
)
def test_what_a_study_shows_after_a_second_look(
    database: Database, first: StudyState, second: StudyState, shown: tuple[str, str | None]
) -> None:
    """Only an analysis takes a flag down; without a flag the latest revision is what counts."""
    revisions = _study(database, "1.1", revisions=1)
    _finish(database, revisions[0], first)
    with database.write() as session:
        study = studies.get(session, "1.1")
        opened = open_revision(session, study, CompletedBy.QUIET, NOW)
        session.flush()
        second_id = opened.id
    assert _shown(database, "1.1")[0] == (FLAGGED if first is FLAGGED else StudyState.IN_PROGRESS)
    silent = second in (FAILED, StudyState.NOT_ANALYSED)
    _finish(database, second_id, second, ReasonCode.WORKER_DIED if silent else None)
    assert _shown(database, "1.1") == shown


@pytest.mark.risk("R-007")
def test_an_old_revision_never_hides_newer_slices(database: Database) -> None:
    """While a newer revision is open, the older result neither holds nor shows, unless it is a flag."""
    quiet, _ = _study(database, "1.1", revisions=2)
    loud, _ = _study(database, "1.2", revisions=2)
    assert not _finish(database, quiet, NOT_FLAGGED)
    assert _finish(database, loud, FLAGGED)
    assert _shown(database, "1.1")[0] == StudyState.IN_PROGRESS
    assert _shown(database, "1.2")[0] == FLAGGED


def test_who_holds_a_report_of_an_earlier_revision(database: Database) -> None:
    """By destination, pictures left aside; the predecessor is the latest revision with a report."""
    first, second, third = _study(database, "1.1", revisions=3)
    for number, (revision, destination, kind) in enumerate(
        [(first, "a", OutputKind.SR), (first, "b", OutputKind.CAPTURE), (third, "c", OutputKind.SR)]
    ):
        with database.write() as session:
            planned = deliveries.Planned(
                destination=destination,
                kind=kind,
                sop_class_uid="1.2",
                sop_instance_uid=f"1.2.{number}",
                path="x",
            )
            deliveries.plan(session, results.get(session, revision), [planned])
    for revision in (first, second):
        _finish(database, revision, NOT_FLAGGED)
    with database.read() as session:
        asked = results.get(session, third)
        assert results.report_holders(session, asked) == {"a"}
        replaced, before = results.reported_before(session, asked), results.previous(session, asked)
        assert replaced is not None and replaced.id == first
        assert before is not None and before.id == second
        assert session.query(Delivery).filter_by(state=DeliveryState.PENDING).count() == 3
        assert session.get_one(Revision, third).state == StudyState.IN_PROGRESS
