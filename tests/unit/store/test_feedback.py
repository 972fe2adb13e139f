"""Feedback of the readers, on both databases."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from ich_triage.domain.labels import Subtype
from ich_triage.domain.states import StudyState
from ich_triage.errors import FeedbackError
from ich_triage.store import feedback, studies
from ich_triage.store.database import Database
from ich_triage.store.feedback import Opinion
from ich_triage.store.tables import Feedback, Revision
from tests.rows import add_revision

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HASH = "ab" * 32


def _analysed(database: Database, uid: str, state: StudyState = StudyState.FLAGGED) -> int:
    """A study whose only revision has a result; returns the revision's id."""
    with database.write() as session:
        revision = add_revision(session, uid, state)
        revision.analysis = {"package": {"weights_sha256": HASH}}
        return revision.id


def _give(
    database: Database,
    revision_id: int,
    reader: str,
    *,
    agrees: bool,
    subtypes: Iterable[Subtype] | None = None,
    minutes: int = 0,
) -> None:
    named = None if subtypes is None else frozenset(subtypes)
    opinion = Opinion(reader=reader, agrees=agrees, subtypes=named, note="seen")
    with database.write() as session:
        revision = session.get_one(Revision, revision_id)
        feedback.give(session, revision, opinion, NOW + timedelta(minutes=minutes))


def test_of_each_reader_the_latest_counts(database: Database) -> None:
    """A reader may change their mind; what was said before stays in the table and counts no more."""
    revision, other = _analysed(database, "1.1"), _analysed(database, "1.2")
    _give(database, revision, "ann", agrees=True, subtypes=[Subtype.SUBDURAL], minutes=0)
    _give(database, revision, "bob", agrees=True, minutes=1)
    _give(database, revision, "ann", agrees=False, minutes=2)
    _give(database, other, "ann", agrees=True, minutes=3)
    with database.read() as session:
        counting = feedback.of_study(session, studies.get(session, "1.1"))
        assert [(each.reader, feedback.sees_bleed(each)) for each in counting] == [
            ("ann", False),
            ("bob", True),
        ]
        everywhere = feedback.all_that_count(session)
        assert [(each.revision.study.study_instance_uid, each.reader) for each in everywhere] == [
            ("1.1", "ann"),
            ("1.1", "bob"),
            ("1.2", "ann"),
        ]
        assert session.query(Feedback).count() == 4


def test_a_later_opinion_on_another_revision_counts_for_the_study(database: Database) -> None:
    """Late slices make a new revision; who has read that one has read the study."""
    first = _analysed(database, "1.1")
    _give(database, first, "ann", agrees=True)
    with database.write() as session:
        study = studies.get(session, "1.1")
        before = session.get_one(Revision, first)
        copied = {name: getattr(before, name) for name in ("completed_by", "last_instance_id", "analysis")}
        times = dict.fromkeys(("first_slice_at", "last_slice_at", "complete_at"), NOW)
        second = Revision(study=study, number=2, state=StudyState.NOT_FLAGGED, **copied, **times)
        session.add(second)
        session.flush()
        feedback.give(session, second, Opinion(reader="ann", agrees=True), NOW + timedelta(minutes=1))
    with database.read() as session:
        (counts,) = feedback.of_study(session, studies.get(session, "1.1"))
        assert counts.revision.number == 2 and not feedback.sees_bleed(counts)


def test_feedback_says_which_weights_it_judges(database: Database) -> None:
    """Subtypes, note, time and the hash of the package come back as they were given."""
    _give(database, _analysed(database, "1.1"), "ann", agrees=True, subtypes=set(Subtype))
    with database.read() as session:
        (given,) = feedback.all_that_count(session)
        assert given.subtypes == sorted(Subtype)
        assert (given.note, given.at, given.weights_sha256) == ("seen", NOW, HASH)


@pytest.mark.parametrize(
    ("state", "agrees", "bleed"),
    [
        (StudyState.FLAGGED, True, True),
        (StudyState.FLAGGED, False, False),
        (StudyState.NOT_FLAGGED, True, False),
        (StudyState.NOT_FLAGGED, False, True),
    ],
)
def test_what_the_reader_sees(sqlite: Database, state: StudyState, agrees: bool, bleed: bool) -> None:
    """Agreeing with a flag or disagreeing with its absence is a bleed; subtypes must say the same."""
    revision = _analysed(sqlite, "1.1", state)
    _give(sqlite, revision, "ann", agrees=agrees, subtypes=[Subtype.EPIDURAL] if bleed else [])
    with sqlite.read() as session:
        (given,) = feedback.all_that_count(session)
        assert feedback.sees_bleed(given) is bleed
    with pytest.raises(FeedbackError, match="name at least one where there is a bleed"):
        _give(sqlite, revision, "ann", agrees=agrees, subtypes=[] if bleed else [Subtype.EPIDURAL])


def test_there_must_be_a_result(sqlite: Database) -> None:
    """A study that was not analysed has no answer to agree with; nobody is no reader."""
    with sqlite.write() as session:
        revision = add_revision(session, "1.1", StudyState.NOT_ANALYSED)
        with pytest.raises(FeedbackError, match="there is no result to agree or disagree with"):
            feedback.give(session, revision, Opinion(reader="ann", agrees=True), NOW)
    with pytest.raises(FeedbackError, match="0 characters"):
        Opinion(reader="", agrees=True)
