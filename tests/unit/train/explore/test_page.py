"""What the page says of what becomes of problems; the rest is seen in `test_command`."""

from __future__ import annotations

from train.explore.page import BECAME
from train.sources.source import ProblemKind


def test_every_problem_says_what_became_of_it() -> None:
    """A new kind needs its words."""
    assert BECAME.keys() == set(ProblemKind)
