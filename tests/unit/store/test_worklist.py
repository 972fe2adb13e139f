"""What the worklist reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ich_triage.domain.priority import rank
from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.errors import UnknownStudyError
from ich_triage.store import results, worklist
from ich_triage.store.database import Database
from ich_triage.store.revisions import open_revision
from ich_triage.store.tables import Study

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
#: Study Instance UID → state, STAT, minutes waited; in the order in which they must be read
STUDIES = {
    "1.1": (StudyState.FLAGGED, True, 1),
    "1.2": (StudyState.FLAGGED, False, 9),
    "1.3": (StudyState.FLAGGED, False, 2),
    "1.4": (StudyState.FAILED, True, 1),
    "1.5": (StudyState.NOT_ANALYSED, False, 8),
    "1.6": (StudyState.RECEIVING, False, 7),
    "1.7": (StudyState.IN_PROGRESS, False, 6),
    "1.8": (StudyState.NOT_FLAGGED, True, 1),
    "1.9": (StudyState.NOT_FLAGGED, False, 99),
}


@pytest.fixture
def filled(database: Database) -> Database:
    """One study of each kind, inserted in the wrong order."""
    with database.write() as session:
        for uid, (state, stat, minutes) in reversed(STUDIES.items()):
            when = NOW - timedelta(minutes=minutes)
            study = Study(study_instance_uid=uid, state=state, stat=stat, rank=rank(state, stat=stat))
            study.first_slice_at = study.last_slice_at = when
            session.add(study)
    return database


def test_the_list_is_in_reading_order(filled: Database) -> None:
    """Flagged, then what nobody has looked at, then the rest; STAT first, then the longest waiting."""
    with filled.read() as session:
        rows = worklist.page(session, since=EPOCH, limit=100)
        assert [row.study.study_instance_uid for row in rows] == list(STUDIES)
        second = worklist.page(session, since=EPOCH, limit=2, offset=2)
        assert [row.study.study_instance_uid for row in second] == ["1.3", "1.4"]
        assert worklist.counts(session, since=EPOCH)["flagged"] == 3


def test_old_studies_are_left_out(filled: Database) -> None:
    """Neither listed nor counted."""
    with filled.read() as session:
        since = NOW - timedelta(minutes=5)
        rows = worklist.page(session, since=since, limit=100)
        assert {row.study.study_instance_uid for row in rows} == {"1.1", "1.3", "1.4", "1.8"}
        assert sum(worklist.counts(session, since=since).values()) == 4


def test_an_unknown_study_is_an_error_of_its_own(filled: Database) -> None:
    """With the UID in its words."""
    with filled.read() as session, pytest.raises(UnknownStudyError, match=r"9\.9\.9"):
        worklist.one(session, "9.9.9")


def test_which_revisions_are_shown(filled: Database) -> None:
    """The newest, the newest final one, and the one reported, whose result the final one shares."""
    with filled.write() as session:
        study = worklist.one(session, "1.6").study
        study = session.get_one(Study, study.id)
        for number in (1, 2, 3):
            revision = open_revision(session, study, CompletedBy.QUIET, NOW)
            session.flush()
            if number < 3:
                revision.same_as = 1 if number == 2 else None
                results.finish(session, revision, StudyState.NOT_FLAGGED)
    with filled.read() as session:
        row = worklist.one(session, "1.6")
        assert row.newest and row.decided and row.reported
        assert (row.newest.number, row.decided.number, row.reported.number) == (3, 2, 1)
        assert [each.number for each in worklist.revisions(session, row.study)] == [1, 2, 3]
