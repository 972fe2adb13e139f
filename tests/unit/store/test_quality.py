"""How the model does here, counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from ich_triage.domain.states import StudyState
from ich_triage.store import feedback, quality
from ich_triage.store.database import Database
from ich_triage.store.quality import Share
from tests.rows import add_revision

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
#: state, day, package, whether a reader agrees; None where none answered
STUDIES = [
    (StudyState.FLAGGED, 0, "new", True),
    (StudyState.FLAGGED, 1, "new", False),
    (StudyState.FLAGGED, 8, "new", None),
    (StudyState.NOT_FLAGGED, 8, "new", False),
    (StudyState.NOT_FLAGGED, 9, "new", None),
    (StudyState.FLAGGED, 9, "old", True),
    (StudyState.NOT_ANALYSED, 9, "old", None),
]


@pytest.fixture
def filled(database: Database) -> Database:
    """The studies of `STUDIES`."""
    with database.write() as session:
        for number, (state, day, package, agrees) in enumerate(STUDIES):
            revision = add_revision(session, f"1.2.{number}", state)
            revision.first_slice_at = MONDAY + timedelta(days=day, hours=3)
            revision.stored_at = revision.first_slice_at
            if state is not StudyState.NOT_ANALYSED:
                weights = {"new": "aa", "old": "bb"}[package] * 32
                told = {"name": package, "version": "1", "weights_sha256": weights, "synthetic": True}
                revision.analysis = {"package": told}
            if agrees is not None:
                opinion = feedback.Opinion(reader="reader", agrees=agrees)
                feedback.give(session, revision, opinion, MONDAY + timedelta(days=30))
    return database


@pytest.mark.risk("R-011")
def test_each_package_is_counted_by_week(filled: Database) -> None:
    """Flagged of the analysed; agreement of the answered; right of the flagged and answered."""
    with filled.read() as session:
        found = {each.name: each for each in quality.by_package(session, since=MONDAY)}
    new, old = found["new 1"], found["old 1"]
    assert (new.total.flag_rate, old.total.flag_rate) == (Share(count=3, of=5), Share(count=1, of=1))
    assert new.total.agreement == Share(count=1, of=3)
    assert new.total.positive_predictive_value == Share(count=1, of=2)
    weeks = {day: (tally.analysed, tally.answered) for day, tally in new.weeks.items()}
    assert weeks == {date(2026, 3, 2): (2, 2), date(2026, 3, 9): (3, 1)}


def test_what_is_older_is_left_out(filled: Database) -> None:
    """Of answers and of feedback alike."""
    with filled.read() as session:
        found = quality.by_package(session, since=MONDAY + timedelta(days=7))
    assert {each.name: each.total.answered for each in found} == {"new 1": 1, "old 1": 1}


def test_a_share_of_nothing_claims_nothing() -> None:
    """And all of a few is not certainty: 5 of 5 is 47.8% at least (Clopper and Pearson)."""
    assert (Share(count=0, of=0).value, Share(count=0, of=0).interval) == (None, None)
    low, high = Share(count=5, of=5).interval or (0, 0)
    assert (round(low, 3), high) == (0.478, 1.0)
