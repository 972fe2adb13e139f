"""The index of received objects: one transaction for a batch, repeatable without effect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ..domain.priority import rank, state_while_reopened
from ..domain.states import StudyState
from .problems import ProblemKind, report
from .studies import set_state
from .tables import Instance, Study


@dataclass(frozen=True, kw_only=True)
class Received:
    """One received object as its header describes it."""

    #: Study Instance UID
    study_instance_uid: str
    #: Series Instance UID
    series_instance_uid: str
    #: SOP Instance UID
    sop_instance_uid: str
    #: SOP Class UID
    sop_class_uid: str
    #: Patient's Name, decoded
    patient_name: str
    #: Patient ID, decoded
    patient_id: str
    #: Accession Number, decoded
    accession_number: str
    #: Study Description, decoded
    study_description: str
    #: Study Date, as received
    study_date: str
    #: AE title that sent it
    calling_ae_title: str
    #: bytes
    size: int
    #: SHA-256 of the data set, hex
    sha256: str
    #: when it was acknowledged
    received_at: datetime
    #: urgent, by DIMSE priority or by its sender
    stat: bool
    #: domain.completeness.SlicePosition fields; None for objects without a place
    positions: list[dict[str, Any]] | None


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """One received object and where it lies."""

    #: the object
    received: Received
    #: path of the file, relative to the spool
    path: str
    #: same UID as an earlier object, other content, as far as the file's name says
    conflict: bool


def index(session: Session, batch: Sequence[Indexed], *, reopening: frozenset[str]) -> int:
    """Write a batch into the index; returns how many objects were new.

    `reopening` are the SOP classes that can change an analysis: a late object of another class is indexed
    and the study stays as it is. An object that is there already changes nothing.
    """
    by_study: dict[str, list[Indexed]] = defaultdict(list)
    for item in batch:
        by_study[item.received.study_instance_uid].append(item)
    new = 0
    # always in the same order, so that two receivers never wait for each other's row
    for study_uid in sorted(by_study):
        study = _locked_study(session, by_study[study_uid][0].received)
        fresh = _insert_new(session, study, by_study[study_uid])
        if fresh:
            _update_study(study, fresh, reopening)
            _report_problems(session, study, fresh)
        new += len(fresh)
    return new


def _locked_study(session: Session, first: Received) -> Study:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    session.execute(
        dialect.insert(Study)
        .values(
            study_instance_uid=first.study_instance_uid,
            patient_name=first.patient_name,
            patient_id=first.patient_id,
            accession_number=first.accession_number,
            study_description=first.study_description,
            study_date=first.study_date,
            calling_ae_title=first.calling_ae_title,
            state=StudyState.RECEIVING,
            rank=rank(StudyState.RECEIVING, stat=False),
            stat=False,
            revision=0,
            instance_count=0,
            first_slice_at=first.received_at,
            last_slice_at=first.received_at,
        )
        .on_conflict_do_nothing(index_elements=["study_instance_uid"])
    )
    query = select(Study).where(Study.study_instance_uid == first.study_instance_uid).with_for_update()
    return session.scalars(query).one()


def _insert_new(session: Session, study: Study, items: Iterable[Indexed]) -> list[Indexed]:
    wanted: dict[tuple[str, str], Indexed] = {}
    for item in items:
        wanted.setdefault((item.received.sop_instance_uid, item.received.sha256), item)
    query = select(Instance.sop_instance_uid, Instance.sha256, Instance.conflict).where(
        Instance.study_id == study.id, Instance.sop_instance_uid.in_([uid for uid, _ in wanted])
    )
    rows = session.execute(query).all()
    known = {(uid, sha256) for uid, sha256, _ in rows}
    used = {uid for uid, _, conflict in rows if not conflict}
    fresh = []
    for key, item in wanted.items():
        if key not in known:
            # of several with one UID one is used, also where no file name tells which
            fresh.append(replace(item, conflict=True) if key[0] in used else item)
            used |= set() if item.conflict else {key[0]}
    if fresh:
        session.execute(insert(Instance), [_row(study, item) for item in fresh])
    return fresh


def _row(study: Study, item: Indexed) -> dict[str, Any]:
    return {
        "study_id": study.id,
        "series_instance_uid": item.received.series_instance_uid,
        "sop_instance_uid": item.received.sop_instance_uid,
        "sop_class_uid": item.received.sop_class_uid,
        "path": item.path,
        "size": item.received.size,
        "sha256": item.received.sha256,
        "conflict": item.conflict,
        "received_at": item.received.received_at,
        "positions": item.received.positions,
    }


def _update_study(study: Study, fresh: list[Indexed], reopening: frozenset[str]) -> None:
    times = [item.received.received_at for item in fresh]
    study.instance_count += len(fresh)
    study.first_slice_at = min(study.first_slice_at, *times)
    study.last_slice_at = max(study.last_slice_at, *times)
    study.stat = study.stat or any(item.received.stat for item in fresh)
    study.rank = rank(StudyState(study.state), stat=study.stat)
    if study.assembling_since is None:
        changing = [
            item.received.received_at
            for item in fresh
            if study.revision == 0 or (item.received.sop_class_uid in reopening and not item.conflict)
        ]
        if changing:
            study.assembling_since = min(changing)
            set_state(study, state_while_reopened(StudyState(study.state)))


def _report_problems(session: Session, study: Study, fresh: list[Indexed]) -> None:
    for item in fresh:
        if item.conflict:
            report(
                session,
                ProblemKind.UID_CONFLICT,
                at=item.received.received_at,
                study_instance_uid=study.study_instance_uid,
                detail=f"{item.received.sop_instance_uid} came again with other content, kept as {item.path}",
            )
    uids = {item.received.sop_instance_uid: item for item in fresh}
    elsewhere = (
        select(Instance.sop_instance_uid, Study.study_instance_uid)
        .join(Study, Study.id == Instance.study_id)
        .where(Instance.sop_instance_uid.in_(list(uids)), Instance.study_id != study.id)
    )
    for sop_uid, other_study in session.execute(elsewhere):
        report(
            session,
            ProblemKind.UID_IN_TWO_STUDIES,
            at=uids[sop_uid].received.received_at,
            study_instance_uid=study.study_instance_uid,
            detail=f"{sop_uid} is in study {other_study}, too; both are kept",
        )


def indexed_paths(session: Session, study_instance_uid: str) -> set[str]:
    """Paths, relative to the spool, of all objects of one study that are in the index."""
    query = select(Instance.path).join(Study).where(Study.study_instance_uid == study_instance_uid)
    return set(session.scalars(query))


def named(session: Session, paths: Sequence[str]) -> set[str]:
    """Which of these files, by their paths relative to the spool, are in the index."""
    return set(session.scalars(select(Instance.path).where(Instance.path.in_(paths))))


def counts(session: Session) -> dict[str, int]:
    """Study Instance UID → number of indexed objects, counted from the objects themselves."""
    query = select(Study.study_instance_uid, func.count(Instance.id)).join(Instance).group_by(Study.id)
    return dict(session.execute(query).all())


def images(session: Session, study: Study, series_instance_uid: str | None = None) -> Sequence[Instance]:
    """Objects of a study, or of one of its series, but for those in conflict with an earlier one."""
    wanted = select(Instance).where(Instance.study_id == study.id, Instance.conflict.is_(False))
    if series_instance_uid is not None:
        wanted = wanted.where(Instance.series_instance_uid == series_instance_uid)
    return session.scalars(wanted.order_by(Instance.id)).all()
