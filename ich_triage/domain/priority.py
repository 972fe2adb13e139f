"""Who is read first. Lower rank is read earlier."""

from __future__ import annotations

from enum import IntEnum

from .states import StudyState


class Rank(IntEnum):
    """Groups of the worklist, in reading order."""

    #: haemorrhage suspected
    FLAGGED = 1
    #: nobody and nothing has looked yet, or the model could not: may hold a bleed
    UNKNOWN = 2
    #: analysed, not flagged
    NOT_FLAGGED = 3


_RANKS: dict[StudyState, Rank] = {
    StudyState.FLAGGED: Rank.FLAGGED,
    StudyState.NOT_FLAGGED: Rank.NOT_FLAGGED,
}


def rank(state: StudyState) -> Rank:
    """The worklist group of a study in `state`; what was not analysed never ranks as not flagged."""
    return _RANKS.get(state, Rank.UNKNOWN)


def state_while_reopened(state: StudyState) -> StudyState:
    """What a study shows while late slices wait for their revision.

    A flag stays up until the new analysis takes it down; anything else no longer covers the whole study.
    """
    return StudyState.FLAGGED if state is StudyState.FLAGGED else StudyState.RECEIVING
