"""Clocks that are set while we run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ich_triage.clock import Steps

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _at(steps: Steps, *, wall_s: float, steady_s: float) -> float:
    return steps.look(NOW + timedelta(seconds=wall_s), steady_s)


def test_a_step_is_told_once_and_small_ones_when_they_have_added_up() -> None:
    """Neither the first look nor time that passes is a step; what is told once is not told again."""
    steps = Steps()
    assert _at(steps, wall_s=0, steady_s=1000) == 0
    assert _at(steps, wall_s=50, steady_s=1050) == 0
    assert _at(steps, wall_s=-3540, steady_s=1060) == -3600
    assert _at(steps, wall_s=-3530, steady_s=1070) == 0
    assert _at(steps, wall_s=-3529.4, steady_s=1070) == 0
    assert round(_at(steps, wall_s=-3528.8, steady_s=1070), 1) == 1.2
