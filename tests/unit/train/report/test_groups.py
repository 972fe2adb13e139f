"""Subgroups and mimics are counted as the seeds say."""

from __future__ import annotations

import pytest

from ich_triage.phantom.spec import VENDORS, draw
from tests.predictions import mixed, scanned, scored, study
from train.report.groups import MIMIC_NAMES, false_alarms, main_mimic, subgroups


def test_subgroups_hold_the_right_studies() -> None:
    """Bleeds fall into their bin of volume; vendors are those of the seeds; the bins of a kind add up."""
    part = scored(*mixed())
    rows = {(row["kind"], row["name"]): row for row in subgroups(part)}
    sizes = {name: row["studies"] for (kind, name), row in rows.items() if kind == "volume"}
    assert sizes == {"below 1 mL": 2, "1 to 5 mL": 1, "5 to 30 mL": 2, "30 mL and more": 1}
    vendors = [draw(2_000_000 + n).acquisition.vendor for n in range(12)]
    assert {name: rows["vendor", name]["studies"] for name in VENDORS} == {
        name: vendors.count(name) for name in VENDORS
    }
    for kind in ("thickness", "tilt", "bits stored", "vendor"):
        assert sum(row["studies"] for (each, _), row in rows.items() if each == kind) == 12


def test_an_empty_subgroup_is_a_row_without_figures() -> None:
    """No study is tilted: the row stands, with n 0 and nothing measured."""
    rows = {(row["kind"], row["name"]): row for row in subgroups(scored(*mixed()))}
    empty = rows["tilt", "over 10°"]
    assert (empty["studies"], empty["auc"]) == (0, None)
    assert empty["points"]["balanced"] == {"sensitivity": None, "specificity": None}
    assert rows["tilt", "none"]["studies"] == 12


def test_sensitivity_by_volume() -> None:
    """Of the bleeds below 1 mL one of two is flagged, and no specificity is made up for them."""
    rows = {row["name"]: row for row in subgroups(scored(*mixed()))}
    small = rows["below 1 mL"]["points"]["balanced"]
    assert small["sensitivity"]["value"] == 0.5
    assert small["specificity"] is None
    assert rows["5 to 30 mL"]["auc"]["n"] == 2 + 6


def test_false_alarms_are_put_down_to_what_the_seed_has() -> None:
    """One alarm in all, counted under each mimic of its seed, and as a hidden bleed if that draws one."""
    alarmed = _carried(2_000_006)
    rows = {row["mimic"]: row for row in false_alarms(scored(*mixed()))["mimics"]}
    assert set(rows) == set(MIMIC_NAMES)
    assert {name for name, row in rows.items() if row["flagged"]} == alarmed
    for name in alarmed:
        carriers = sum(name in _carried(2_000_006 + n) for n in range(6))
        assert rows[name]["rate"]["value"] == pytest.approx(1 / carriers)


def _carried(seed: int) -> frozenset[str]:
    """What the label of a normal head does not count."""
    spec = draw(seed)
    return spec.mimics.names | ({"hidden_bleed"} if spec.bleeds else set())


def test_a_bleed_that_the_label_counts_is_not_hidden() -> None:
    """Of two studies of a seed that draws a bleed, only the one whose label says none is hidden."""
    seed = next(seed for seed in range(2_000_000, 2_000_100) if draw(seed).bleeds)
    seen, unseen = scored(study(seed, (0.0, 5.0, 0.0, 0.0, 0.0)), study(seed)).origins
    assert "hidden_bleed" in unseen.mimics
    assert unseen.mimics - seen.mimics == {"hidden_bleed"}


def test_the_rarest_mimic_comes_first() -> None:
    """A tumour explains more than the calcified pineal gland that most people have, hidden blood more."""
    assert main_mimic(frozenset({"pineal", "tumour"})) == "tumour"
    assert main_mimic(frozenset({"pineal", "hidden_bleed", "tumour"})) == "hidden_bleed"
    assert main_mimic(frozenset()) == "none"


def test_areas_of_subgroups_draw_whole_patients() -> None:
    """Every study twice, the same patient's: no subgroup's area looks surer for it."""
    studies = [scanned(each, f"p{number}") for number, each in enumerate(mixed())]
    for one, two in zip(subgroups(scored(*studies)), subgroups(scored(*studies, *studies)), strict=True):
        assert two["auc"] == (one["auc"] and pytest.approx(one["auc"]))
