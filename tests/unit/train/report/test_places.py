"""Places and volumes against values worked out by hand."""

from __future__ import annotations

import pytest

from tests.predictions import SURE, scanned, scored, study
from train.report.places import places, volumes

BLEEDS = (
    study(2_000_000, (0, 10.0, 0, 0, 0), logit=SURE, measured_ml=(0, 8.0, 0, 0, 0)),
    study(2_000_001, (0, 20.0, 0, 0, 0), logit=SURE, measured_ml=(0, 30.0, 0, 0, 0)),
    study(2_000_002, (0, 2.0, 0, 0, 0), logit=SURE, measured_ml=(0, 0.0, 0, 0, 0)),
    study(2_000_003),
)


def test_volumes_by_hand() -> None:
    """Differences −2, 10 and −2; one of two large bleeds within 35%; one without a mask."""
    found = volumes(scored(*BLEEDS))
    row = found["intraparenchymal"]
    assert (row["positive"], row["without_mask"]) == (3, 1)
    assert row["bias_ml"]["value"] == pytest.approx(2)
    assert row["absolute_error_ml"]["value"] == pytest.approx(14 / 3)
    assert row["absolute_error_ml"]["baseline"] == pytest.approx((0 + 10 + 8) / 3)  # the median, 10 mL
    assert (row["within_35_percent_over_5_ml"]["value"], row["within_35_percent_over_5_ml"]["n"]) == (0.5, 2)
    assert row["relative_error_over_5_ml"]["value"] == pytest.approx((0.2 + 0.5) / 2)
    assert row["relative_error_over_5_ml"]["baseline"] == pytest.approx((0 + 0.5) / 2)
    assert (row["covered"]["value"], row["covered"]["n"]) == (1, 2)
    assert row["measured_ml"] == [8, 30, 0]
    assert found["all"]["bias_ml"] == row["bias_ml"]


def test_intervals_are_held_against_what_reports_tell() -> None:
    """A bleed that is not flagged has a volume all the same, which nobody is told with an interval."""
    missed = study(2_000_004, (0, 50.0, 0, 0, 0), measured_ml=(0, 1.0, 0, 0, 0))
    row = volumes(scored(*BLEEDS, missed))["intraparenchymal"]
    assert (row["positive"], row["covered"]["n"]) == (4, 2)


def test_a_subtype_that_does_not_occur_has_no_figures() -> None:
    """Nothing is measured on nothing, and nothing breaks."""
    assert volumes(scored(*BLEEDS))["epidural"]["bias_ml"] is None
    assert places(scored(*BLEEDS))["epidural"] == {"positive": 0, "pointing": None, "dice": None}


def test_places_stand_beside_blind_guesses() -> None:
    """Pointing and overlap with the baselines of a blind pick and of everything marked."""
    row = places(scored(*BLEEDS))["intraparenchymal"]
    assert (row["pointing"]["value"], row["pointing"]["n"]) == (1, 3)
    assert row["pointing"]["baseline"] == pytest.approx(0.01)
    assert (row["dice"]["value"], row["dice"]["baseline"]) == (pytest.approx(0.5), pytest.approx(0.02))


def test_means_draw_whole_patients() -> None:
    """Every study twice, the same patient's: overlap and absolute error do not look surer for it."""
    studies = [scanned(each, f"p{number}") for number, each in enumerate(BLEEDS)]
    once, twice = scored(*studies), scored(*studies, *studies)
    overlap = [places(part)["intraparenchymal"]["dice"] for part in (once, twice)]
    error = [volumes(part)["all"]["absolute_error_ml"] for part in (once, twice)]
    assert overlap[1] == pytest.approx(overlap[0])
    assert error[1] == pytest.approx(error[0])
    assert error[1]["n"] == 3
