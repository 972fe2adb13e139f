"""Decisions and labels against counts known beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ich_triage.phantom.spec import draw
from tests.predictions import mixed, scanned, scored, study, without_slices
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


def test_the_area_without_hidden_bleeds() -> None:
    """The one alarm is a hidden bleed: beside the area with it stands that of the others, all in order."""
    drawn = {bool(draw(seed).bleeds): seed for seed in range(2_000_010, 2_000_100)}
    bleed = study(2_000_000, (0.0, 5.0, 0.0, 0.0, 0.0), logit=1.0)
    found = roc(scored(bleed, study(drawn[True], logit=2.0), study(drawn[False])))
    assert found["auc"]["value"] == pytest.approx(0.5)
    assert found["without_hidden_bleeds"]["left_out"] == 1
    assert found["without_hidden_bleeds"]["auc"]["value"] == pytest.approx(1)
    assert found["without_hidden_bleeds"]["auc"]["n"] == 2


def test_without_a_bleed_there_is_no_curve() -> None:
    """A set of normal heads has specificity and nothing else."""
    normal = scored(*(study(2_000_000 + n) for n in range(4)))
    assert roc(normal) is None
    found = decisions(normal)["balanced"]
    assert found["sensitivity"] is None
    assert found["specificity"]["value"] == 1
    assert predictive_values(normal)["balanced"][0] == {"prevalence": 0.027, "ppv": None, "npv": None}
    assert calibration(normal)["study"]["after"]["slope"] is None


def test_sections_draw_whole_patients() -> None:
    """Every study twice, the same patient's: no area, precision, band or calibration looks surer for it."""
    studies = [scanned(each, f"p{number}") for number, each in enumerate(mixed())]
    once, twice = scored(*studies), scored(*studies, *studies)
    one: Any = {"roc": roc(once), "labels": labels(once), "calibration": calibration(once)}
    two: Any = {"roc": roc(twice), "labels": labels(twice), "calibration": calibration(twice)}
    assert two["roc"]["auc"] == pytest.approx(one["roc"]["auc"])
    assert two["roc"]["hyperdense_count_auc"] == pytest.approx(one["roc"]["hyperdense_count_auc"])
    for name in ("low", "high"):
        assert two["roc"]["curve"][name] == pytest.approx(one["roc"]["curve"][name])
    precision = [found["labels"]["any"]["average_precision"] for found in (one, two)]
    assert precision[1] == pytest.approx(precision[0])
    for kind in ("study", "slice"):
        brier = [found["calibration"][kind]["after"]["brier"] for found in (one, two)]
        assert brier[1] == pytest.approx(brier[0])
        assert brier[1]["n"] == 12


def test_calibration_of_nothing_known_is_empty() -> None:
    """Feedback labels no slices: these have no figures and no bins, while studies keep theirs."""
    found: Any = calibration(scored(*(without_slices(each) for each in mixed())))
    for when in ("before", "after"):
        assert found["slice"][when] == {"brier": None, "slope": None, "ece": None, "bins": []}
        assert found["study"][when]["brier"]["n"] == 12


def test_a_label_that_nobody_knows_of_has_no_figures() -> None:
    """None of its figures, and no warning on the way to none."""
    unknown = [replace(each, study_labels=each.study_labels * [1, np.nan, 1, 1, 1, 1]) for each in mixed()]
    found: Any = labels(scored(*unknown))
    for name in ("auc", "average_precision", "sensitivity", "specificity"):
        assert found["epidural"][name] is None
        assert found["subdural"][name] is not None
