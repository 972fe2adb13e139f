"""Checks that fail, break or hang."""

from __future__ import annotations

from threading import Event

import pytest

from ich_triage.telemetry import readiness
from ich_triage.telemetry.readiness import Readiness


def _break() -> str | None:
    raise RuntimeError("DOE^JANE")


def test_every_check_has_its_word() -> None:
    """What is wrong is told in its own words; what breaks is not ready, and its message goes nowhere."""
    ready, told = Readiness({"disk": lambda: "full", "port": lambda: None, "odd": _break}).ask()
    assert not ready
    assert told == {"disk": "full", "port": "ok", "odd": "could not be looked at; see the log"}


def test_a_check_that_hangs_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes in time and says no; one look is under way at a time; then all is well."""
    begun, release = [], Event()

    def hang() -> None:
        begun.append(1)
        release.wait()

    asked = Readiness({"database": hang})
    monkeypatch.setattr(readiness, "_LIMIT_S", 0.05)
    for _ in range(3):
        assert asked.ask() == (False, {"database": "no answer within 0.05 s"})
    assert len(begun) == 1
    monkeypatch.undo()
    release.set()
    assert asked.ask() == (True, {"database": "ok"})
