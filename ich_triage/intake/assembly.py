"""When is a study complete? Geometry first, then quiet time, then a cap.

A study whose head series is geometrically whole need not wait for long. That its associations have ended
says that the sender has nothing more in hand just now, but some scanners open one association for every
image: so a whole series still waits `GRACE_S` after the last slice, which is well above the few tens of
milliseconds between two such associations and well below what a reader notices. While associations are open
it waits the settle time. A slow sender, such as a scanner that sends each slice as it is reconstructed,
must have been silent for several times its own pace.

Times are those of receipt, by the wall clock. Where that was set meanwhile they say nothing about silence,
which is then what this process has seen of it by the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..clock import Steps
from ..domain.completeness import SlicePosition, whole_series
from ..domain.states import CompletedBy
from ..settings import Assembly as AssemblySettings
from ..store.database import Database
from ..store.revisions import open_revision
from ..store.tables import Instance, Study
from .associations import Associations

log = structlog.get_logger(__name__)

#: silence after which a whole series is complete once no association is open that brought any of it, s
GRACE_S = 0.3

#: silence after which a whole series is complete, in mean intervals between its slices
PACE = 4.0

#: so much later than now is what came before the clock was set back, or to a host whose clock is fast
_FUTURE = timedelta(seconds=1)


#: an object that waits longer for the index than this is not waited for: longer than it takes until another
#: receiver takes up what a dead one has left
STUCK = timedelta(seconds=40)


@dataclass(kw_only=True)
class _Seen:
    """What one sweep after the other has seen of a study."""

    #: when it was first seen, by the monotonic clock, s
    first_s: float
    #: its instance count
    count: int
    #: since when it has had that, by the monotonic clock, s
    since_s: float
    #: whether it was geometrically whole then; None: not judged yet
    whole: bool | None = None
    #: its times of receipt cannot be held against the clock of now
    misdated: bool = False


@dataclass(frozen=True, kw_only=True)
class _Times:
    """What decides about a study."""

    #: since its last slice, s
    silence_s: float
    #: from its first slice to its last, s
    took_s: float
    #: since its first slice, s
    age_s: float


def _dated(study: Study, now: datetime) -> _Times:
    """By the times of receipt; `now` is the moment up to which they are known."""
    first = study.assembling_since or study.first_slice_at
    return _Times(
        silence_s=(now - study.last_slice_at).total_seconds(),
        took_s=(study.last_slice_at - first).total_seconds(),
        age_s=(now - first).total_seconds(),
    )


def _observed(seen: _Seen, steady_s: float, *, behind: bool) -> _Times:
    """By what was seen; nothing is silence while the index is `behind`."""
    return _Times(
        silence_s=0.0 if behind else steady_s - seen.since_s,
        took_s=seen.since_s - seen.first_s,
        age_s=steady_s - seen.first_s,
    )


class Assembly:
    """Looks at the studies that are being received, and at no other."""

    def __init__(
        self,
        settings: AssemblySettings,
        database: Database,
        associations: Associations,
        *,
        indexed_up_to: Callable[[datetime], Callable[[str], datetime]],
        oldest_waiting: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """`oldest_waiting`: of what any receiver has acknowledged and none has indexed; asked for when a
        study is due."""
        self._settings = settings
        self._database = database
        self._associations = associations
        self._indexed_up_to = indexed_up_to
        self._oldest_waiting = oldest_waiting
        #: by study id: geometry is judged once per change
        self._seen: dict[int, _Seen] = {}
        self._steps = Steps()

    def sweep(self, now: datetime | None = None, *, steady_s: float | None = None) -> int:
        """Complete every study that is; returns how many. Raises SQLAlchemyError, OSError.

        `now` stands for the wall clock, and `steady_s` for the monotonic one, which else goes with it.
        """
        wall = now or datetime.now(UTC)
        if steady_s is None:
            steady_s = monotonic() if now is None else wall.timestamp()
        was_set = self._steps.look(wall, steady_s) != 0.0
        # objects that are acknowledged but not indexed yet are no silence
        known_until = self._indexed_up_to(wall)

        def times(study: Study, limit: datetime) -> _Times:
            known, seen = min(limit, known_until(study.study_instance_uid)), self._seen[study.id]
            return _observed(seen, steady_s, behind=known != wall) if seen.misdated else _dated(study, known)

        with self._database.read() as session:
            assembling = list(session.scalars(select(Study).where(Study.assembling_since.is_not(None))))
            self._seen = {
                study.id: self._look(study, wall, steady_s, was_set=was_set) for study in assembling
            }
            due = self._due(session, [(study, times(study, wall)) for study in assembling])
            if due and (limit := self._limit(wall)):
                due = self._due(session, [(study, times(study, limit)) for study, _ in due])
        return sum(self._complete(study, rule, now) for study, rule in due)

    def _due(
        self, session: Session, studies: Iterable[tuple[Study, _Times]]
    ) -> list[tuple[Study, CompletedBy]]:
        """Those that are complete, and by which rule."""
        rules = ((study, self._completed_by(session, study, times)) for study, times in studies)
        return [(study, rule) for study, rule in rules if rule]

    def _limit(self, now: datetime) -> datetime | None:
        """Receipt of the oldest object that waits in any receiver's hands; None where none does.

        One that has waited for so long that nobody can index it holds up no study.
        """
        oldest = self._oldest_waiting()
        return oldest if oldest and now - oldest < STUCK else None

    def _look(self, study: Study, wall: datetime, steady_s: float, *, was_set: bool) -> _Seen:
        """What has been seen of a study with this sweep; `was_set`: the wall clock was, since the last."""
        before = self._seen.get(study.id)
        seen = before or _Seen(first_s=steady_s, count=study.instance_count, since_s=steady_s)
        if seen.count != study.instance_count:
            seen.count, seen.since_s, seen.whole = study.instance_count, steady_s, None
        seen.misdated = seen.misdated or was_set or study.last_slice_at > wall + _FUTURE
        return seen

    def _completed_by(self, session: Session, study: Study, times: _Times) -> CompletedBy | None:
        if times.silence_s >= self._silence_needed_s(study, times) and self._is_whole(session, study):
            return CompletedBy.GEOMETRY
        if times.silence_s >= self._settings.quiet_s:
            return CompletedBy.QUIET
        return CompletedBy.CAP if times.age_s >= self._settings.cap_s else None

    def _silence_needed_s(self, study: Study, times: _Times) -> float:
        """What a whole series waits: by who is still connected, and by the pace at which slices came."""
        ended = self._associations.all_ended(study.study_instance_uid, instances=study.instance_count)
        least = min(GRACE_S, self._settings.settle_s) if ended else self._settings.settle_s
        return max(least, PACE * times.took_s / max(study.instance_count - 1, 1))

    def _is_whole(self, session: Session, study: Study) -> bool:
        seen = self._seen[study.id]
        if seen.whole is None:
            query = select(Instance.positions).where(
                Instance.study_id == study.id, Instance.positions.is_not(None), Instance.conflict.is_(False)
            )
            known = chain.from_iterable(positions or () for positions in session.scalars(query))
            seen.whole = bool(whole_series(map(_slice, known)))
        return seen.whole

    def _complete(self, seen: Study, rule: CompletedBy, now: datetime | None) -> bool:
        """Open the revision, unless a slice or another receiver came between."""
        with self._database.write() as session:
            study = session.scalars(select(Study).where(Study.id == seen.id).with_for_update()).one()
            if study.assembling_since is None or study.instance_count != seen.instance_count:
                return False
            revision = open_revision(session, study, rule, now or datetime.now(UTC))
        log.info(
            "study_complete",
            study_instance_uid=seen.study_instance_uid,
            revision=revision.number,
            completed_by=rule.value,
            instances=seen.instance_count,
        )
        return True


def _slice(position: dict[str, object]) -> SlicePosition:
    """What the index kept; JSON has turned tuples into lists."""
    return SlicePosition(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in position.items()}  # type: ignore[arg-type]
    )
