"""What the database knows of the service's work, as figures: how much, how long, how old; no patient's.

"Of late" means studies whose first slice came within the window; what waits is counted whatever its age.
Every question goes through an index that the worklist has anyway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.orm import Session

from ..domain.states import ANALYSED_STATES, CompletedBy, DeliveryState, StudyState
from . import receivers, workers
from .commitment_tables import Commitment
from .tables import Delivery, Revision, Study, Worker

#: stage → where it begins and ends in the ledger
_STAGES: dict[str, tuple[str, str]] = {
    "receive": ("first_slice_at", "last_slice_at"),
    "assemble": ("last_slice_at", "complete_at"),
    "queue": ("complete_at", "started_at"),
    "infer": ("started_at", "inferred_at"),
    "store": ("inferred_at", "stored_at"),
    "total": ("last_slice_at", "stored_at"),
}
#: these begin with slices, and say nothing of a study that a person has asked for again
_FROM_SLICES = frozenset({"receive", "assemble", "total"})
_OPEN_DELIVERIES = (DeliveryState.PENDING, DeliveryState.DEAD)
_LEDGER = tuple(dict.fromkeys(name for ends in _STAGES.values() for name in ends))


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one package answered of late."""

    #: probability of any bleed, one per study, 0 to 1
    probabilities: Sequence[float]
    #: how many of them were flagged
    flagged: int


@dataclass(frozen=True, kw_only=True)
class Outbound:
    """What is known of one destination."""

    #: deliveries by state: pending and dead ones of any age, others of late
    states: Mapping[DeliveryState, int]
    #: age of the oldest pending one, s; 0 without any
    oldest_s: float
    #: from result to delivery, of late, s
    seconds: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One look."""

    #: studies of late, by state
    studies: Mapping[StudyState, int]
    #: studies of late without an answer, by state and reason code
    reasons: Mapping[tuple[str, str], int]
    #: complete revisions without a result, by how far they are: waiting, queued, running
    unfinished: Mapping[str, int]
    #: since when the oldest of them is complete, s; 0 without any
    oldest_unfinished_s: float
    #: studies with slices that no revision covers yet
    assembling: int
    #: since when the oldest of them has such, s; 0 without any
    oldest_assembling_s: float
    #: times of revisions of late, by stage, s
    stages: Mapping[str, Sequence[float]]
    #: by PackageIdentity.key
    answers: Mapping[str, Answers]
    #: by name of the destination
    outbound: Mapping[str, Outbound]
    #: peers' requests for storage commitment whose results they do not have
    commitments: int
    #: since when the oldest of them waits, s; 0 without any
    oldest_commitment_s: float
    #: receivers that live
    receivers: int
    #: workers that live, by PackageIdentity.key of what they run
    workers: Mapping[str, int]
    #: workers that live and could not take the package in force
    off_course: int


def read(session: Session, *, now: datetime, since: datetime, dead_after_s: float) -> Figures:
    """All figures at `now`; `since` begins the window."""
    unfinished, oldest = _unfinished(session, now)
    assembling, oldest_assembling = _assembling(session, now)
    studies, reasons = _studies(session, since)
    living = workers.living(session, dead_after_s=dead_after_s)
    commitments, oldest_commitment = _commitments(session, now)
    return Figures(
        studies=studies,
        reasons=reasons,
        unfinished=unfinished,
        oldest_unfinished_s=oldest,
        assembling=assembling,
        oldest_assembling_s=oldest_assembling,
        stages=_stages(session, since),
        answers=_answers(session, since),
        outbound=_outbound(session, now, since),
        commitments=commitments,
        oldest_commitment_s=oldest_commitment,
        receivers=receivers.living(session),
        workers=_packages(session, living),
        off_course=len(workers.off_course(session, dead_after_s=dead_after_s)),
    )


def _studies(session: Session, since: datetime) -> tuple[dict[StudyState, int], dict[tuple[str, str], int]]:
    states = dict.fromkeys(StudyState, 0)
    reasons: dict[tuple[str, str], int] = {}
    found = select(Study.state, Study.reason_code, func.count()).where(_of_late(since))
    for state, reason, count in session.execute(found.group_by(Study.state, Study.reason_code)):
        states[StudyState(state)] += count
        if reason:
            reasons[state, reason] = count
    return states, reasons


def _unfinished(session: Session, now: datetime) -> tuple[dict[str, int], float]:
    counts = dict.fromkeys(("waiting", "queued", "running"), 0)
    found = session.execute(
        select(Revision.enqueued_at, Revision.started_at, Revision.complete_at).where(
            Revision.state == StudyState.IN_PROGRESS
        )
    ).all()
    for enqueued, started, _ in found:
        counts["running" if started else "queued" if enqueued else "waiting"] += 1
    return counts, _age(now, min((each.complete_at for each in found), default=None))


def _assembling(session: Session, now: datetime) -> tuple[int, float]:
    found = select(func.count(), func.min(Study.assembling_since)).where(Study.assembling_since.is_not(None))
    count, oldest = session.execute(found).one()
    return count, _age(now, oldest)


def _stages(session: Session, since: datetime) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {stage: [] for stage in _STAGES}
    columns = [getattr(Revision, name) for name in _LEDGER]
    found = _revisions_of_late(since, Revision.completed_by, *columns).where(Revision.stored_at.is_not(None))
    for row in session.execute(found):
        asked_again = row.completed_by == CompletedBy.REPROCESS
        for stage, ends in _STAGES.items():
            lasted = _seconds(row, *ends)
            if lasted is not None and not (asked_again and stage in _FROM_SLICES):
                times[stage].append(lasted)
    return times


def _answers(session: Session, since: datetime) -> dict[str, Answers]:
    package = Revision.analysis["package"]
    found = _revisions_of_late(
        since,
        package["name"].as_string(),
        package["version"].as_string(),
        package["weights_sha256"].as_string(),
        Revision.analysis["probabilities"][0].as_float(),
        Revision.state,
    ).where(Revision.state.in_(ANALYSED_STATES), Revision.same_as.is_(None))
    given: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for name, version, weights, probability, state in session.execute(found):
        given[f"{name}-{version}-{weights[:12]}"].append((probability, state == StudyState.FLAGGED))
    return {
        key: Answers(probabilities=[each for each, _ in rows], flagged=sum(flagged for _, flagged in rows))
        for key, rows in given.items()
    }


def _outbound(session: Session, now: datetime, since: datetime) -> dict[str, Outbound]:
    states: dict[str, dict[DeliveryState, int]] = defaultdict(lambda: dict.fromkeys(DeliveryState, 0))
    oldest: dict[str, datetime] = {}
    seconds: dict[str, list[float]] = defaultdict(list)
    waiting = (
        select(Delivery.destination, Delivery.state, func.count(), func.min(Revision.stored_at))
        .join(Delivery.revision)
        .where(Delivery.state.in_(_OPEN_DELIVERIES))
        .group_by(Delivery.destination, Delivery.state)
    )
    for destination, state, count, since_when in session.execute(waiting):
        states[destination][DeliveryState(state)] = count
        if state == DeliveryState.PENDING and since_when is not None:
            oldest[destination] = since_when
    done = _revisions_of_late(
        since, Delivery.destination, Delivery.state, Revision.stored_at, Delivery.sent_at
    )
    for row in session.execute(done.join(Revision.deliveries).where(Delivery.state.not_in(_OPEN_DELIVERIES))):
        states[row.destination][DeliveryState(row.state)] += 1
        lasted = _seconds(row, "stored_at", "sent_at")
        if lasted is not None:
            seconds[row.destination].append(lasted)
    return {
        name: Outbound(states=counts, oldest_s=_age(now, oldest.get(name)), seconds=seconds[name])
        for name, counts in states.items()
    }


def _commitments(session: Session, now: datetime) -> tuple[int, float]:
    count, oldest = session.execute(select(func.count(), func.min(Commitment.asked_at))).one()
    return count, _age(now, oldest)


def _packages(session: Session, living: Sequence[str]) -> dict[str, int]:
    found = select(Worker.package, func.count()).where(Worker.id.in_(living)).group_by(Worker.package)
    return {package or "unknown": count for package, count in session.execute(found)}


def _of_late(since: datetime) -> ColumnElement[bool]:
    """By state and time, since that is what the index has."""
    return Study.state.in_(list(StudyState)) & (Study.first_slice_at >= since)


def _revisions_of_late(since: datetime, *columns: Any) -> Select[Any]:
    return select(*columns).select_from(Study).join(Study.revisions).where(_of_late(since))


def _age(now: datetime, since: datetime | None) -> float:
    return max(0.0, (now - since) / timedelta(seconds=1)) if since else 0.0


def _seconds(row: Row[Any], begin: str, end: str) -> float | None:
    """How long it took; None where the ledger lacks one of the two. Clocks of hosts may differ."""
    begun, ended = getattr(row, begin), getattr(row, end)
    return max(0.0, (ended - begun).total_seconds()) if begun and ended else None
