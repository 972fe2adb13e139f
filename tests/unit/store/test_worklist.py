"""What the worklist reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect, update

from ich_triage.domain.priority import Order, Rank, rank
from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.errors import UnknownStudyError
from ich_triage.store import results, worklist
from ich_triage.store.database import Database
from ich_triage.store.revisions import open_revision
from ich_triage.store.tables import Study
from ich_triage.store.worklist import Wanted

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVERY = Wanted(since=datetime(2000, 1, 1, tzinfo=UTC))
ORDER = Order(now=NOW, rise_after=None)
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
            study.first_slice_at = study.last_slice_at = study.changed_at = when
            session.add(study)
    return database


def test_the_list_is_in_reading_order(filled: Database) -> None:
    """Flagged, then what nobody has looked at, then the rest; STAT first, then the longest waiting."""
    with filled.read() as session:
        rows = worklist.page(session, EVERY, ORDER, limit=100)
        assert [row.study.study_instance_uid for row in rows] == list(STUDIES)
        second = worklist.page(session, EVERY, ORDER, limit=2, offset=2)
        assert [row.study.study_instance_uid for row in second] == ["1.3", "1.4"]
        assert worklist.counts(session, EVERY)["flagged"] == 3


def test_old_studies_are_left_out(filled: Database) -> None:
    """Neither listed nor counted."""
    with filled.read() as session:
        recent = Wanted(since=NOW - timedelta(minutes=5))
        rows = worklist.page(session, recent, ORDER, limit=100)
        assert {row.study.study_instance_uid for row in rows} == {"1.1", "1.3", "1.4", "1.8"}
        assert sum(worklist.counts(session, recent).values()) == 4


@pytest.mark.risk("R-011")
def test_who_waits_too_long_is_read_as_one_step_more_urgent(filled: Database) -> None:
    """Not flagged for 99 minutes: after an hour beside the unknown, and there the longest waiting."""
    order = replace(ORDER, rise_after=timedelta(hours=1))
    with filled.read() as session:
        rows = worklist.page(session, EVERY, order, limit=100)
        uids = [row.study.study_instance_uid for row in rows]
        assert uids == ["1.1", "1.2", "1.3", "1.4", "1.9", "1.5", "1.6", "1.7", "1.8"]


@pytest.mark.parametrize("minutes", [1, 2, 5, 8, 50, 200])
def test_the_database_and_the_rule_agree_on_every_place(filled: Database, minutes: int) -> None:
    """Whatever the wait."""
    order = replace(ORDER, rise_after=timedelta(minutes=minutes))
    with filled.read() as session:
        rows = worklist.page(session, EVERY, order, limit=100)
    places = [order.place(Rank(row.study.rank), row.study.first_slice_at) for row in rows]
    keys = list(zip(places, (row.study.first_slice_at for row in rows), strict=True))
    assert keys == sorted(keys)


def test_filters_join(filled: Database) -> None:
    """States, words anywhere in what names a study, and what no reader has answered; the counts follow."""
    with filled.write() as session:
        study = session.get_one(Study, worklist.one(session, "1.3").study.id)
        study.patient_name, study.accession_number = "DOE^JANE", "A_7%"
    flagged = replace(EVERY, states=frozenset({StudyState.FLAGGED}))
    with filled.read() as session:

        def found(wanted: Wanted) -> list[str]:
            return [row.study.study_instance_uid for row in worklist.page(session, wanted, ORDER, limit=9)]

        assert found(flagged) == ["1.1", "1.2", "1.3"]
        assert found(replace(EVERY, words=("jane", "_7%"))) == ["1.3"]
        assert found(replace(EVERY, words=("%",))) == ["1.3"]
        assert found(replace(EVERY, words=("jane", "john"))) == []
        assert worklist.counts(session, replace(flagged, words=("jane",))) == {"flagged": 1}


def test_what_was_written_is_told(filled: Database) -> None:
    """A change of any column counts, by whatever statement."""
    before = datetime.now(UTC)
    with filled.write() as session:
        session.execute(update(Study).where(Study.study_instance_uid == "1.2").values(stat=True))
        session.get_one(Study, worklist.one(session, "1.5").study.id).instance_count = 3
    with filled.read() as session:
        changed = worklist.changed_since(session, before)
        assert {session.get_one(Study, each).study_instance_uid for each in changed} == {"1.2", "1.5"}


def test_an_unknown_study_is_an_error_of_its_own(filled: Database) -> None:
    """With the UID in its words."""
    with filled.read() as session, pytest.raises(UnknownStudyError, match=r"9\.9\.9"):
        worklist.one(session, "9.9.9")


def test_a_list_reads_no_slices(filled: Database) -> None:
    """They are many, and no list shows them; a study's own page has them, and its series."""
    with filled.write() as session:
        revision = open_revision(session, worklist.one(session, "1.6").study, CompletedBy.QUIET, NOW)
        session.flush()
        results.finish(session, revision, StudyState.NOT_FLAGGED)
    for read, left_out in (
        (lambda session: worklist.page(session, EVERY, ORDER, limit=100), {"analysis", "selection"}),
        (lambda session: [worklist.one(session, "1.6")], set()),
    ):
        with filled.read() as session:
            (shown,) = [row.decided for row in read(session) if row.decided]
            assert inspect(shown).unloaded & {"analysis", "selection", "summary"} == left_out


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
