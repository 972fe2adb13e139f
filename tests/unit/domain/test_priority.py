"""Places on the list as other systems are told of them."""

from __future__ import annotations

from ich_triage.domain.priority import LEVELS, Level, Rank, rank
from ich_triage.domain.states import StudyState


def test_levels_follow_the_reading_order() -> None:
    """No place has a higher level than one that is read before it."""
    order = [list(Level).index(LEVELS[each]) for each in Rank]
    assert order == sorted(order)


def test_only_what_is_not_flagged_and_not_urgent_is_low() -> None:
    """Neither what nobody has looked at nor an urgent request waits behind everything."""
    low = {
        (state, stat)
        for state in StudyState
        for stat in (False, True)
        if LEVELS[rank(state, stat=stat)] is Level.LOW
    }
    assert low == {(StudyState.NOT_FLAGGED, False)}
