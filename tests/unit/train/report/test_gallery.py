"""Which studies are shown, and what is said of them."""

from __future__ import annotations

import numpy as np

from tests.predictions import mixed, scored
from train.report.gallery import gallery


def test_every_miss_is_listed_the_largest_first() -> None:
    """The 6 mL bleed before that of 0.7 mL; one picture allowed leaves one out."""
    found = gallery(scored(*mixed()), pictures=1)
    assert [entry["actual"][0]["true_ml"] for entry in found["misses"]] == [6.0, 0.7]
    assert [entry["shown"] for entry in found["misses"]] == [True, False]
    assert (found["misses_left_out"], found["false_alarms_left_out"]) == (1, 0)


def test_false_alarms_and_examples() -> None:
    """The one alarm, with its mimics; the examples are the first studies, right or wrong."""
    found = gallery(scored(*mixed()), pictures=5)
    alarm = found["false_alarms"][0]
    assert (alarm["seed"], alarm["actual"], alarm["flagged"]) == (2_000_006, [], True)
    assert alarm["predicted"][0]["right"] is False
    assert [entry["seed"] for entry in found["examples"]] == list(range(2_000_000, 2_000_012))


def test_subtypes_are_told_as_serving_tells_them() -> None:
    """For every flagged study the subtypes are those that the service would report, in its order."""
    part = scored(*mixed())
    for study in np.flatnonzero(part.flagged("balanced")):
        assert part.told(study) == part.manifest.mask.reported(part.probability[study])
    assert part.told(int(np.flatnonzero(~part.flagged("balanced"))[0])) == []
