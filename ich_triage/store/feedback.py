"""What radiologists say about results, and what follows from it about a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, contains_eager, defer, joinedload

from ..domain.labels import Subtype
from ..domain.states import ANALYSED_STATES, StudyState
from ..errors import FeedbackError
from .tables import Feedback, Revision, Study

#: characters of a reader's name at most
MAX_READER = 64
#: what the model said of a revision, for queries that leave it out
_WITHOUT_ANSWER = (defer(Revision.analysis), defer(Revision.summary), defer(Revision.selection))


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """One reader's answer to one result."""

    #: who
    reader: str
    #: whether the reader, too, sees a bleed where one was flagged, and none where none was
    agrees: bool
    #: the subtypes that are there; None where the reader does not name them
    subtypes: frozenset[Subtype] | None = None
    #: free text
    note: str = ""

    def __post_init__(self) -> None:
        """Raise FeedbackError for a reader without a name, or with one that the table cannot hold."""
        if not 1 <= len(self.reader) <= MAX_READER:
            raise FeedbackError(
                f"the reader's name has {len(self.reader)} characters: give 1 to {MAX_READER}"
            )


def give(session: Session, revision: Revision, opinion: Opinion, now: datetime) -> Feedback:
    """Keep the opinion; an earlier one of the same reader stays as history and no longer counts.

    Raises FeedbackError where there is no result to agree with, or the opinion contradicts itself.
    """
    study = revision.study.study_instance_uid
    if revision.state not in ANALYSED_STATES or revision.analysis is None:
        raise FeedbackError(
            f"revision {revision.number} of study {study} is {revision.state}: there is no result to agree "
            "or disagree with; give feedback on an analysed revision"
        )
    if opinion.subtypes is not None and bool(opinion.subtypes) != _bleed(revision, opinion.agrees):
        raise FeedbackError(
            f"study {study} is {revision.state}, the reader {'agrees' if opinion.agrees else 'disagrees'} "
            f"and names {len(opinion.subtypes)} subtypes: name at least one where there is a bleed and none "
            "where there is none, or leave them out"
        )
    given = Feedback(
        revision=revision,
        reader=opinion.reader,
        agrees=opinion.agrees,
        subtypes=None if opinion.subtypes is None else sorted(opinion.subtypes),
        note=opinion.note,
        at=now,
        weights_sha256=revision.analysis["package"]["weights_sha256"],
    )
    session.add(given)
    revision.study.changed_at = now  # open lists show it
    return given


def sees_bleed(feedback: Feedback) -> bool:
    """Whether the reader says that there is a bleed."""
    return _bleed(feedback.revision, feedback.agrees)


def _bleed(revision: Revision, agrees: bool) -> bool:
    return agrees == (revision.state == StudyState.FLAGGED)


def of_study(session: Session, study: Study) -> Sequence[Feedback]:
    """The feedback that counts for one study: the latest of each reader, by name of the reader."""
    return of_studies(session, [study.id])


def withdraw(session: Session, study: Study, reader: str, now: datetime) -> None:
    """Take the reader's answer back; it stays as history. Raises FeedbackError where there is none."""
    given = next((each for each in of_study(session, study) if each.reader == reader), None)
    if given is None:
        raise FeedbackError(f"study {study.study_instance_uid} has no answer of yours to take back")
    copy = Feedback(revision_id=given.revision_id, reader=reader, agrees=given.agrees, at=now, withdrawn=True)
    copy.weights_sha256 = given.weights_sha256
    session.add(copy)
    study.changed_at = now


def of_studies(session: Session, ids: Sequence[int]) -> Sequence[Feedback]:
    """The same for several, by id. What the model said is not read."""
    given = session.scalars(
        select(Feedback)
        .join(Feedback.revision)
        .where(Revision.study_id.in_(ids))
        .order_by(Feedback.id)
        .options(contains_eager(Feedback.revision).options(*_WITHOUT_ANSWER, joinedload(Revision.study)))
    )
    latest = {(each.revision.study_id, each.reader): each for each in given}
    return [latest[key] for key in sorted(latest) if not latest[key].withdrawn]


def all_that_count(session: Session, *, since: datetime | None = None) -> Sequence[Feedback]:
    """The latest feedback of each reader on each study, studies in order of receipt.

    `since` leaves out what is about studies received earlier. What the model said of each slice is not read.
    """
    received = [Revision.first_slice_at >= since] if since else []
    return session.scalars(
        select(Feedback)
        .join(Feedback.revision)
        .where(Feedback.id.in_(counting_ids()), *received)
        .order_by(Revision.study_id, Feedback.reader)
        .options(contains_eager(Feedback.revision).options(*_WITHOUT_ANSWER, joinedload(Revision.study)))
    ).all()


def counting_ids() -> Select[int]:
    """Feedback that no later one of the same reader on the same study replaces, and that was not taken back.

    Later by number, not by the clock of the host that took it.
    """
    last = func.max(Feedback.id).label("id")
    by_reader = select(last).join(Feedback.revision).group_by(Revision.study_id, Feedback.reader).subquery()
    return (
        select(Feedback.id)
        .join(by_reader, by_reader.c.id == Feedback.id)
        .where(Feedback.withdrawn.is_(False))
    )
