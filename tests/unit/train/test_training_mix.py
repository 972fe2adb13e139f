"""The mix of phantoms that training draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.phantom.records import PhantomSpec
from ich_triage.phantom.spec import draw
from train import embedded
from train.embedded import draw_parts, seeds
from train.training_mix import training_spec


def test_training_seeds_cover_every_subtype_and_normal_heads() -> None:
    """Rare and faint bleeds are drawn about as often as common ones, often several; a third have none."""
    specs = [training_spec(seed) for seed in range(300)]
    bleeds = [bleed for spec in specs for bleed in spec.bleeds]
    drawn = [bleed.subtype for bleed in bleeds]
    assert min(drawn.count(subtype) for subtype in SUBTYPES) > 50
    assert {len(spec.bleeds) for spec in specs} == {0, 1, 2, 3, 4, 5}
    assert 0.2 < np.mean([not spec.bleeds for spec in specs]) < 0.4
    old = [bleed for bleed in bleeds if bleed.subtype is Subtype.SUBDURAL and bleed.hu < 40]
    assert len(old) > 50
    assert {bleed.site for bleed in old} == {"convexity"}


def _overlaps(spec: PhantomSpec) -> bool:
    return spec.acquisition.thickness_mm > spec.acquisition.spacing_mm


def test_half_of_the_heads_are_unusual_and_the_others_as_drawn() -> None:
    """Askew, with overlapping slices; whether one is has nothing to do with its having a bleed."""
    specs = [training_spec(seed) for seed in range(400)]
    unusual = [spec for spec in specs if _overlaps(spec)]
    assert 0.4 < len(unusual) / len(specs) < 0.6
    for spec in specs:
        if not _overlaps(spec):
            usual = draw(spec.seed)
            assert (spec.acquisition, spec.head) == (usual.acquisition, usual.head)
    lean, usual_lean = (
        np.std([spec.acquisition.pose_deg[1] for spec in some]) for some in (unusual, map(draw, range(400)))
    )
    assert lean > 1.5 * usual_lean
    bleeding = [bool(spec.bleeds) for spec in specs]
    share = np.mean([bool(spec.bleeds) for spec in unusual])
    assert abs(share - np.mean(bleeding)) < 0.08


def test_unusual_heads_of_the_held_out_style_keep_what_makes_it() -> None:
    """Its noise and the shape of its skull are not what training draws, however unusual."""
    style_a, style_b = ([training_spec(seed, style=style) for seed in range(200)] for style in ("a", "b"))
    assert max(spec.acquisition.noise_peak for spec in style_b) < min(
        spec.acquisition.noise_peak for spec in style_a
    )


def test_what_training_draws_changes_no_study_that_is_judged_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another mix draws the training studies anew, and no others."""

    def drawn() -> dict[str, list[Path]]:
        parts = {"train": seeds("train", 1), "test": seeds("test", 1)}
        return draw_parts(parts, cache=tmp_path, spec=InputSpec(size=96), matrix=48, workers=0)

    before = drawn()
    monkeypatch.setattr(embedded, "mix_sha256", lambda: "another")
    after = drawn()
    assert after["test"] == before["test"]
    assert after["train"] != before["train"]
    assert all(path.exists() for path in after["train"])
