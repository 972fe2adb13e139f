"""Decisions and labels against counts known beforehand."""

from __future__ import annotations

import pytest

from tests.predictions import mixed, scored, study
from train.report.sections import calibration, decisions, labels, predictive_values, roc


def test_rates_at_each_point() -> None:
    """Four of six bleeds and one of six normal heads are flagged at one half; all at one hundredth."""
    found = decisions(scored(*mixed()))
    balanced = found["balanced"]
    assert (balanced["sensitivity"]["value"], balanced["sensitivity"]["n"]) == (pytest.approx(4 / 6), 6)
    assert (balanced["specificity"]["value"], balanced["flagged"]) == (pytest.approx(5 / 6), 5)
    assert balanced["sensitivity"]["baseline"] == pytest.approx(5 / 12)
    assert balanced["specificity"]["baseline"] == pytest.approx(7 / 12)
    assert found["high_sensitivity"]["specificity"]["value"] == 0


def test_hyperdense_count_raises_as_many_flags() -> None:
    """The baseline flags five studies too, whichever they are."""
    dense = decisions(scored(*mixed()))["balanced"]["hyperdense_count"]
    hits, alarms = 6 * dense["sensitivity"]["value"], 6 * (1 - dense["specificity"]["value"])
    assert hits + alarms == pytest.approx(5)


def test_predictive_values_stand_beside_the_prevalence() -> None:
    """At each prevalence the base of PPV is the prevalence, of NPV the rest."""
    rows = predictive_values(scored(*mixed()))["balanced"]
    assert [row["prevalence"] for row in rows] == [0.027, 0.05, 0.10, 0.15, 0.40]
    last = rows[-1]
    assert last["ppv"]["value"] == pytest.approx((4 / 6 * 0.4) / (4 / 6 * 0.4 + 1 / 6 * 0.6))
    assert (last["ppv"]["baseline"], last["npv"]["baseline"]) == (0.4, 0.6)


def test_each_subtype_at_its_own_threshold() -> None:
    """The one intraventricular bleed is called, and average precision stands beside its share."""
    found = labels(scored(*mixed()))
    assert list(found) == [
        "any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural",
    ]  # fmt: skip
    assert found["intraventricular"]["positive"] == 1
    assert found["intraventricular"]["sensitivity"]["value"] == 1
    assert found["intraventricular"]["average_precision"]["baseline"] == pytest.approx(1 / 12)


def test_without_a_bleed_there_is_no_curve() -> None:
    """A set of normal heads has specificity and nothing else."""
    normal = scored(*(study(2_000_000 + n) for n in range(4)))
    assert roc(normal) is None
    found = decisions(normal)["balanced"]
    assert found["sensitivity"] is None
    assert found["specificity"]["value"] == 1
    assert predictive_values(normal)["balanced"][0] == {"prevalence": 0.027, "ppv": None, "npv": None}
    assert calibration(normal)["study"]["after"]["slope"] is None
