"""What other systems' questions read: studies by coarse conditions, and what hangs on them.

The conditions narrow in the database and never leave out a match; the exact rules are the asker's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from ..domain.priority import Rank
from ..domain.states import ANALYSED_STATES, FINAL_STATES, StudyState
from . import text
from .tables import Instance, Revision, Study

Json = dict[str, Any]

#: studies fetched at once
_BATCH = 200


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """Conditions on studies; None and empty conditions hold for all."""

    #: Study Instance UIDs
    study_instance_uids: Collection[str] | None = None
    #: first and last Study Date, inclusive; an empty end is open
    study_date: tuple[str, str] = ("", "")
    #: column → pattern with `*` and `?` that it holds somewhere, without regard to case
    patterns: Mapping[str, str] = field(default_factory=dict)
    #: places on the reading list
    ranks: Collection[int] | None = None


@dataclass(frozen=True, kw_only=True)
class SeriesRow:
    """One series as the index knows it."""

    #: Series Instance UID
    series_instance_uid: str
    #: SOP Class UIDs of its objects
    sop_classes: frozenset[str]
    #: indexed objects
    instance_count: int


def narrowed(session: Session, by: Narrowing) -> Iterator[Study]:
    """Studies by rank, then newest first: an answer that is cut must not end with what nobody reads any more.

    `session` must see one moment: else a study that rises while batches are fetched is in none of them.
    """
    query = select(Study).where(Study.rank.in_(list(Rank)), *conditions(by))
    query = query.order_by(Study.rank, Study.first_slice_at.desc(), Study.id.desc()).limit(_BATCH)
    last: Study | None = None
    while True:
        batch = session.scalars(query if last is None else query.where(_after(last))).all()
        yield from batch
        if len(batch) < _BATCH:
            return
        last = batch[-1]


def answers(session: Session, studies: Sequence[Study]) -> dict[int, Revision]:
    """Study id → the revision whose analysis holds: its newest; while it is flagged, the one that flagged.

    None for a study whose newest final revision came to no analysis.
    """
    flagged = {study.id for study in studies if study.state == StudyState.FLAGGED}
    found: dict[int, Revision] = {}
    for revision in session.scalars(
        select(Revision)
        .where(Revision.study_id.in_([study.id for study in studies]), Revision.state.in_(FINAL_STATES))
        .order_by(Revision.number)
    ):
        if revision.study_id not in flagged or revision.state == StudyState.FLAGGED:
            found[revision.study_id] = revision
    return {key: revision for key, revision in found.items() if revision.state in ANALYSED_STATES}


def selection(session: Session, study: Study) -> Json:
    """Which series was chosen and why not the others, by the newest revision that has looked; {} before."""
    query = select(Revision.selection).where(Revision.study_id == study.id).order_by(Revision.number.desc())
    return next((each for each in session.scalars(query) if each), {})


def series(session: Session, studies: Sequence[Study]) -> dict[int, list[SeriesRow]]:
    """Study id → its series, in the order of their first object; objects without a series are left out."""
    rows = session.execute(
        select(
            Instance.study_id,
            Instance.series_instance_uid,
            Instance.sop_class_uid,
            func.count(Instance.id),
        )
        .where(Instance.study_id.in_([study.id for study in studies]), Instance.series_instance_uid != "")
        .group_by(Instance.study_id, Instance.series_instance_uid, Instance.sop_class_uid)
        .order_by(func.min(Instance.id))
    )
    found: dict[int, dict[str, dict[str, int]]] = {}
    for study_id, series_uid, sop_class, count in rows:
        found.setdefault(study_id, {}).setdefault(series_uid, {})[sop_class] = count
    return {
        study_id: [
            SeriesRow(
                series_instance_uid=uid, sop_classes=frozenset(classes), instance_count=sum(classes.values())
            )
            for uid, classes in by_series.items()
        ]
        for study_id, by_series in found.items()
    }


def images(session: Session, study: Study, series_instance_uid: str) -> list[tuple[str, str]]:
    """(SOP Class UID, SOP Instance UID) of each object of one series, in the order of their arrival."""
    query = select(Instance.sop_class_uid, Instance.sop_instance_uid).where(
        Instance.study_id == study.id,
        Instance.series_instance_uid == series_instance_uid,
        Instance.conflict.is_(False),
    )
    return [(sop_class, uid) for sop_class, uid in session.execute(query.order_by(Instance.id))]


def _after(last: Study) -> ColumnElement[bool]:
    """Behind `last` in that order."""
    same_rank = and_(
        Study.rank == last.rank,
        or_(
            Study.first_slice_at < last.first_slice_at,
            and_(Study.first_slice_at == last.first_slice_at, Study.id < last.id),
        ),
    )
    return or_(Study.rank > last.rank, same_rank)


def conditions(by: Narrowing) -> list[ColumnElement[bool]]:
    """The narrowing as conditions on the table of studies."""
    found: list[ColumnElement[bool]] = []
    if by.study_instance_uids is not None:
        found.append(Study.study_instance_uid.in_(by.study_instance_uids))
    if by.ranks is not None:
        found.append(Study.rank.in_(by.ranks))
    first, last = by.study_date
    if first:
        found.append(Study.study_date >= first)
    if last:
        found.append(and_(Study.study_date <= last, Study.study_date != ""))
    for name, pattern in by.patterns.items():
        column: InstrumentedAttribute[str] = getattr(Study, name)
        found.append(func.lower(column).like(text.matching(pattern), escape=text.ESCAPE))
    return found
