"""The draw of a phantom from its seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ich_triage.domain.labels import Subtype
from ich_triage.phantom.spec import draw, quantile_draw
from ich_triage.phantom.tables import AGEING, BLEEDS, LABEL_SETS, MIMICS


def test_seed_decides_everything() -> None:
    """Equal seeds give equal phantoms, other seeds and the other style give others."""
    assert draw(7) == draw(7)
    assert draw(7).head != draw(8).head
    assert draw(7, style="a").acquisition != draw(7, style="b").acquisition


def test_bleeds_leave_head_and_scan_alone() -> None:
    """Head and acquisition are the same whichever bleeds are asked for, so headers cannot tell them."""
    without, full = draw(3, bleeds=None), draw(3, bleeds=tuple(Subtype))
    assert (without.head, without.acquisition) == (full.head, full.acquisition)
    assert without.bleeds == ()
    assert tuple(b.subtype for b in full.bleeds) == tuple(Subtype)


def test_half_of_random_studies_have_no_bleed() -> None:
    """The random draw gives about half of the studies a bleed, with every subtype among them."""
    drawn = [draw(seed).bleeds for seed in range(600)]
    positive = [bleeds for bleeds in drawn if bleeds]
    assert 0.44 < len(positive) / len(drawn) < 0.56
    assert {b.subtype for bleeds in positive for b in bleeds} == set(Subtype)
    assert sum(LABEL_SETS.values()) == pytest.approx(1.0)


def test_subarachnoid_blood_lies_in_up_to_three_places() -> None:
    """Each a bleed of its own; of the other subtypes a random study has one at most."""
    counts = [Counter(bleed.subtype for bleed in draw(seed).bleeds) for seed in range(300)]
    assert {n for each in counts if (n := each.pop(Subtype.SUBARACHNOID, 0))} == {1, 2, 3}
    assert {n for each in counts for n in each.values()} == {1}


def test_volumes_follow_their_quantiles() -> None:
    """A draw through the 5/50/95% points gives those points back."""
    rng = np.random.default_rng(0)
    table = BLEEDS[Subtype.SUBDURAL].volume_ml
    values = [quantile_draw(rng, table, log=True) for _ in range(4000)]
    assert np.quantile(values, (0.05, 0.5, 0.95)) == pytest.approx(table, rel=0.15)


def test_old_subdurals_lie_over_the_convexity() -> None:
    """Along falx and tentorium subdural blood is fresh; over the convexity it is of any age."""
    drawn = [draw(seed, bleeds=(Subtype.SUBDURAL,)).bleeds[0] for seed in range(400)]
    assert {bleed.site for bleed in drawn} == {"convexity", "falx", "tentorium"}
    assert 0.15 < np.mean([bleed.site != "convexity" for bleed in drawn]) < 0.25
    assert all(bleed.hu >= 45.0 for bleed in drawn if bleed.site != "convexity")
    over_convexity = [bleed.hu for bleed in drawn if bleed.site == "convexity"]
    assert min(over_convexity) < 35.0 and max(over_convexity) > 60.0


def test_overrides_reach_the_acquisition() -> None:
    """Named fields are taken over; slices alone are spread over the head; a wrong name is an error."""
    spec = draw(1, slices=30, tilt_deg=12.5)
    assert (spec.acquisition.slices, spec.acquisition.spacing_mm, spec.acquisition.tilt_deg) == (
        30,
        5.0,
        12.5,
    )
    assert spec.with_acquisition(slices=3) == replace(spec, acquisition=replace(spec.acquisition, slices=3))
    with pytest.raises(TypeError):
        draw(1, thicknes_mm=3.0)


def test_epidural_brings_its_fracture() -> None:
    """About 60% of epidural bleeds lie under a fracture, and few other studies have one."""
    epidural = [draw(seed, bleeds=(Subtype.EPIDURAL,)) for seed in range(200)]
    share = np.mean(["fracture" in spec.mimics.names for spec in epidural])
    others = np.mean(["fracture" in draw(seed, bleeds=None).mimics.names for seed in range(200)])
    assert 0.5 < share < 0.7
    assert others < 0.2


def test_calcified_arteries_come_with_age_not_with_bleeds() -> None:
    """Old heads have them several times as often as young ones, at the table's rate, bleed or none alike."""
    plain = [draw(seed, bleeds=None) for seed in range(500)]
    for name in AGEING:
        has = np.array([name in spec.mimics.names for spec in plain])
        old = np.array([spec.head.atrophy > 0.5 for spec in plain])
        assert has.mean() == pytest.approx(MIMICS["a"][name], abs=0.05)
        assert has[old].mean() > 1.7 * has[~old].mean()
        other = np.mean([name in draw(seed, style="b", bleeds=None).mimics.names for seed in range(500)])
        assert other > has.mean()
    for spec in plain[:100]:
        bled = draw(spec.seed, bleeds=(Subtype.SUBARACHNOID,))
        assert bled.mimics.names & AGEING == spec.mimics.names & AGEING


def test_right_sinus_is_mostly_the_wider_one() -> None:
    """Both sinuses have a width in every head; the left is much narrower in six of ten, the right in one."""
    widths = np.array([draw(seed).head.sinus_mm for seed in range(600)])
    assert 1.5 < widths.min() < widths.max() <= 12.0
    left, right = widths.T
    assert np.mean(left < 0.82 * right) == pytest.approx(0.59, abs=0.06)
    assert np.mean(right < 0.82 * left) == pytest.approx(0.10, abs=0.04)
