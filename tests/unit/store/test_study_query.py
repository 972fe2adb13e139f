"""What questions of other systems read, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ich_triage.domain.states import StudyState
from ich_triage.store import studies, study_query
from ich_triage.store.database import Database
from ich_triage.store.study_query import _BATCH, Narrowing
from ich_triage.store.tables import Study

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _add(database: Database, count: int) -> set[str]:
    """Studies that are not flagged, one a second."""
    with database.write() as session:
        for number in range(count):
            study = Study(study_instance_uid=f"1.{number}", state=StudyState.NOT_FLAGGED, rank=6)
            study.first_slice_at = study.last_slice_at = NOW + timedelta(seconds=number)
            session.add(study)
    return {f"1.{number}" for number in range(count)}


def test_a_study_that_rises_while_it_is_read_is_not_left_out(database: Database) -> None:
    """Flagged between two batches, the last study would stand before the first: the answer has it still."""
    every = _add(database, _BATCH + 2)
    with database.snapshot() as session:
        found = study_query.narrowed(session, Narrowing())
        seen = {next(found).study_instance_uid}
        with database.write() as other:
            for uid in ("1.0", f"1.{_BATCH + 1}"):
                studies.set_state(studies.get(other, uid), StudyState.FLAGGED)
        assert seen | {each.study_instance_uid for each in found} == every
