"""When is a study complete? Geometry first, then quiet time, then a cap.

A study whose head series is geometrically whole need not wait for long. That its associations have ended
says that the sender has nothing more in hand just now, but some scanners open one association for every
image: so a whole series still waits `GRACE_S` after the last slice, which is well above the few tens of
milliseconds between two such associations and well below what a reader notices. While associations are open
it waits the settle time. A slow sender, such as a scanner that sends each slice as it is reconstructed,
must have been silent for several times its own pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

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

#: an object that waits longer for the index than this is not waited for: longer than it takes until another
#: receiver takes up what a dead one has left
STUCK = timedelta(seconds=40)


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
        #: study id → (its instance count, whether it was whole then): geometry is judged once per change
        self._whole: dict[int, tuple[int, bool]] = {}

    def sweep(self, now: datetime | None = None) -> int:
        """Complete every study that is; returns how many. Raises SQLAlchemyError, OSError."""
        # objects that are acknowledged but not indexed yet are no silence
        known_until = self._indexed_up_to(now or datetime.now(UTC))
        with self._database.read() as session:
            assembling = list(session.scalars(select(Study).where(Study.assembling_since.is_not(None))))
            due = self._due(session, assembling, known_until)
            if due and (limit := self._limit(now or datetime.now(UTC))):
                those = [study for study, _ in due]
                due = self._due(session, those, lambda uid: min(limit, known_until(uid)))
        self._whole = {study.id: self._whole[study.id] for study in assembling if study.id in self._whole}
        return sum(self._complete(study, rule, now) for study, rule in due)

    def _due(
        self, session: Session, studies: Iterable[Study], known_until: Callable[[str], datetime]
    ) -> list[tuple[Study, CompletedBy]]:
        """Those that are complete, and by which rule."""
        rules = (
            (study, self._completed_by(session, study, known_until(study.study_instance_uid)))
            for study in studies
        )
        return [(study, rule) for study, rule in rules if rule]

    def _limit(self, now: datetime) -> datetime | None:
        """Receipt of the oldest object that waits in any receiver's hands; None where none does.

        One that has waited for so long that nobody can index it holds up no study.
        """
        oldest = self._oldest_waiting()
        return oldest if oldest and now - oldest < STUCK else None

    def _completed_by(self, session: Session, study: Study, now: datetime) -> CompletedBy | None:
        silence = now - study.last_slice_at
        if silence >= timedelta(seconds=self._silence_needed_s(study)) and self._is_whole(session, study):
            return CompletedBy.GEOMETRY
        if silence >= timedelta(seconds=self._settings.quiet_s):
            return CompletedBy.QUIET
        if study.assembling_since and now - study.assembling_since >= timedelta(seconds=self._settings.cap_s):
            return CompletedBy.CAP
        return None

    def _silence_needed_s(self, study: Study) -> float:
        """What a whole series waits: by who is still connected, and by the pace at which slices came."""
        ended = self._associations.all_ended(study.study_instance_uid, instances=study.instance_count)
        least = min(GRACE_S, self._settings.settle_s) if ended else self._settings.settle_s
        took = study.last_slice_at - (study.assembling_since or study.first_slice_at)
        return max(least, PACE * took.total_seconds() / max(study.instance_count - 1, 1))

    def _is_whole(self, session: Session, study: Study) -> bool:
        count, whole = self._whole.get(study.id, (-1, False))
        if count != study.instance_count:
            query = select(Instance.positions).where(
                Instance.study_id == study.id, Instance.positions.is_not(None), Instance.conflict.is_(False)
            )
            known = chain.from_iterable(positions or () for positions in session.scalars(query))
            whole = bool(whole_series(map(_slice, known)))
            self._whole[study.id] = (study.instance_count, whole)
        return whole

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
