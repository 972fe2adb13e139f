"""Who is read first. Lower rank is read earlier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from .states import StudyState


class Rank(IntEnum):
    """Places on the worklist, in reading order."""

    #: haemorrhage suspected, urgent request
    FLAGGED_STAT = 1
    #: haemorrhage suspected
    FLAGGED = 2
    #: nobody and nothing has looked yet, or the model could not: may hold a bleed; urgent request
    UNKNOWN_STAT = 3
    #: nobody and nothing has looked yet, or the model could not: may hold a bleed
    UNKNOWN = 4
    #: analysed, not flagged, urgent request
    NOT_FLAGGED_STAT = 5
    #: analysed, not flagged
    NOT_FLAGGED = 6


class Level(StrEnum):
    """What other systems know of the place: they tell three apart."""

    #: haemorrhage suspected
    HIGH = "HIGH"
    #: may hold a bleed, or an urgent request
    MEDIUM = "MEDIUM"
    #: not flagged, and nobody is in a hurry
    LOW = "LOW"


#: the one table that every protocol follows, so that no two contradict each other; along the reading order,
#: so that a list which sorts by level alone turns nothing round
LEVELS: Mapping[Rank, Level] = {
    Rank.FLAGGED_STAT: Level.HIGH,
    Rank.FLAGGED: Level.HIGH,
    Rank.UNKNOWN_STAT: Level.MEDIUM,
    Rank.UNKNOWN: Level.MEDIUM,
    Rank.NOT_FLAGGED_STAT: Level.MEDIUM,
    Rank.NOT_FLAGGED: Level.LOW,
}


_ROUTINE: dict[StudyState, Rank] = {
    StudyState.FLAGGED: Rank.FLAGGED,
    StudyState.NOT_FLAGGED: Rank.NOT_FLAGGED,
}


def rank(state: StudyState, *, stat: bool) -> Rank:
    """The place of a study in `state`; what was not analysed never ranks as not flagged."""
    return Rank(_ROUTINE.get(state, Rank.UNKNOWN) - stat)


def state_once_answered(shown: StudyState, answer: StudyState) -> StudyState:
    """What a study that shows `shown` shows when a revision ends with `answer`.

    An analysis that failed or was refused says nothing against a flag that an earlier one has put up.
    """
    said_nothing = answer in (StudyState.NOT_ANALYSED, StudyState.FAILED)
    return shown if said_nothing and shown is StudyState.FLAGGED else answer


def state_while_reopened(state: StudyState) -> StudyState:
    """What a study shows while late slices wait for their revision.

    A flag stays up until the new analysis takes it down; anything else no longer covers the whole study.
    """
    return StudyState.FLAGGED if state is StudyState.FLAGGED else StudyState.RECEIVING


@dataclass(frozen=True, kw_only=True)
class Order:
    """Places on the list at one moment: the rank, and what waiting adds to it, so that nobody starves.

    A study that was not flagged and has waited for `rise_after` is read beside the unknown; an urgent request
    stays one. Nothing that was not flagged is ever read before what is. Among equals the longest waiting
    comes first.
    """

    #: when
    now: datetime
    #: waiting time after which a study rises; None raises nobody
    rise_after: timedelta | None

    def place(self, rank: Rank, first_slice_at: datetime) -> Rank:
        """Where a study of `rank` stands."""
        if self.rise_after is None or self.now - first_slice_at < self.rise_after:
            return rank
        return RISEN.get(rank, rank)


#: whom waiting raises, and to where
RISEN = {Rank.NOT_FLAGGED_STAT: Rank.UNKNOWN_STAT, Rank.NOT_FLAGGED: Rank.UNKNOWN}
