"""Pixels, masks and truth of a phantom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ich_triage.domain.finding import Side
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import PhantomSpec
from ich_triage.phantom.spec import draw


def _one(subtype: Subtype, volume_ml: float, *, side: int = 1, seed: int = 5) -> PhantomSpec:
    spec = draw(seed, bleeds=(subtype,), slices=28, fov_mm=235.0, offset_mm=(0.0, 0.0))
    site = {Subtype.INTRAVENTRICULAR: "cast", Subtype.SUBARACHNOID: "sylvian", Subtype.SUBDURAL: "convexity"}
    bleed = replace(spec.bleeds[0], volume_ml=volume_ml, side=side)
    return replace(spec, bleeds=(replace(bleed, site=site.get(subtype, bleed.site)),))


@pytest.fixture(scope="module")
def normal() -> Phantom:
    """A head without a bleed."""
    spec = draw(2, bleeds=None, slices=28, noise_hu=2.5)
    return generate(replace(spec, mimics=replace(spec.mimics, names=frozenset())), matrix=160)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_bleed_is_where_and_as_large_as_asked(subtype: Subtype) -> None:
    """Each subtype appears alone, on its side, at about the volume asked for, and nowhere else."""
    volume_ml = 2.0 if subtype is Subtype.SUBARACHNOID else 8.0
    spec = _one(subtype, volume_ml, side=-1)
    fresh = replace(spec.bleeds[0], hu=60.0)  # what looks like cortex has no label
    phantom = generate(replace(spec, bleeds=(fresh,)), matrix=192)
    assert [b.subtype for b in phantom.truth.bleeds] == [subtype]
    (truth,) = phantom.truth.bleeds
    assert truth.volume_ml == pytest.approx(volume_ml, rel=0.5)
    in_ventricles = subtype is Subtype.INTRAVENTRICULAR
    assert truth.side in ({Side.RIGHT, Side.BILATERAL, Side.MIDLINE} if in_ventricles else {Side.RIGHT})
    assert truth.centroid_lps[0] < 5.0
    index = SUBTYPES.index(subtype)
    assert phantom.masks.flatten(1).any(1).tolist() == [i == index for i in range(5)]


@pytest.mark.parametrize(("subtype", "hu"), [(Subtype.SUBDURAL, 58.0), (Subtype.SUBARACHNOID, 48.0)])
def test_what_is_labelled_reads_as_blood(subtype: Subtype, hu: float) -> None:
    """Blood in the partial volume of bone, where nobody would see or outline it, is not in the mask."""
    for seed in (3, 8):
        spec = _one(subtype, 3.0, seed=seed)
        phantom = generate(replace(spec, bleeds=(replace(spec.bleeds[0], hu=hu, mixed=0.0),)), matrix=256)
        blood = phantom.hu[phantom.masks.any(0)].numpy()
        assert np.median(blood) == pytest.approx(hu, abs=10.0)
        assert np.mean(blood > 110.0) < 0.05
        assert phantom.truth.bleeds[0].volume_ml == pytest.approx(3.0, rel=0.5)


def test_slice_labels_are_those_of_the_masks() -> None:
    """A slice carries a label exactly where the mask of that subtype has voxels."""
    phantom = generate(draw(4, bleeds=(Subtype.SUBDURAL, Subtype.INTRAPARENCHYMAL), slices=24), matrix=128)
    seen = phantom.masks.flatten(2).any(-1).T
    assert torch.equal(phantom.truth.slice_labels[:, 1:], seen)
    assert torch.equal(phantom.truth.slice_labels[:, 0], seen.any(1))


def test_bleed_too_small_to_see_is_not_labelled() -> None:
    """A bleed of a few cubic millimetres leaves neither mask nor label."""
    phantom = generate(_one(Subtype.INTRAPARENCHYMAL, 0.004), matrix=160)
    assert phantom.truth.bleeds == ()
    assert not phantom.masks.any()
    assert not phantom.truth.slice_labels.any()


@pytest.mark.parametrize(
    ("subtype", "volume_ml", "hu", "seen"),
    [
        (Subtype.SUBDURAL, 1.2, 41.0, False),
        (Subtype.SUBDURAL, 1.2, 68.0, True),
        (Subtype.SUBDURAL, 25.0, 41.0, True),
        (Subtype.SUBARACHNOID, 1.2, 41.0, False),
        (Subtype.SUBARACHNOID, 1.2, 68.0, True),
        (Subtype.SUBARACHNOID, 25.0, 41.0, True),
    ],
)
def test_bleed_too_faint_to_see_is_not_labelled(
    subtype: Subtype, volume_ml: float, hu: float, seen: bool
) -> None:
    """Blood as dense as the cortex beside it is there and has no label; dense blood or much of it has."""
    spec = _one(subtype, volume_ml)
    spec = replace(spec, head=replace(spec.head, grey_hu=40.0))
    bleed = replace(spec.bleeds[0], hu=hu, mixed=0.0)
    phantom = generate(replace(spec, bleeds=(bleed,)), matrix=160)
    assert bool(phantom.truth.bleeds) is seen
    assert phantom.truth.labels[0] is seen


def test_same_seed_same_pixels() -> None:
    """A phantom can be made again, bit for bit."""
    spec = draw(9, slices=8)
    assert torch.equal(generate(spec, matrix=96).hu, generate(spec, matrix=96).hu)


def test_matrix_changes_sampling_not_the_bleed() -> None:
    """The same patient on another matrix has the same bleed, within sampling."""
    spec = _one(Subtype.INTRAPARENCHYMAL, 12.0)
    small, large = (generate(spec, matrix=m).truth.bleeds[0] for m in (128, 256))
    assert small.volume_ml == pytest.approx(large.volume_ml, rel=0.12)
    assert small.centroid_lps == pytest.approx(large.centroid_lps, abs=2.0)


def test_tissues_have_their_hu(normal: Phantom) -> None:
    """Brain lies between CSF and cortex, bone above 900 HU, the corner of the image is air."""
    hu = normal.hu.numpy()
    middle = hu[14]
    brain = middle[(middle > 10) & (middle < 60)]
    assert 26 < np.median(brain) < 40
    assert np.quantile(hu[14], 0.99) > 900
    assert hu[14, :6, :6].mean() == pytest.approx(-1000, abs=25)
    assert normal.truth.labels == (False,) * 6


def test_slices_ascend_along_the_normal() -> None:
    """Positions step by the spacing along the normal, also when a tilted gantry shears the stack."""
    phantom = generate(draw(1, slices=6, tilt_deg=18.5), matrix=64)
    normal = np.cross(phantom.orientation[:3], phantom.orientation[3:])
    assert np.diff(phantom.positions @ normal) == pytest.approx(phantom.spacing[0])
    assert np.diff(phantom.positions[:, :2], axis=0) == pytest.approx(0.0)
    assert normal[2] == pytest.approx(np.cos(np.radians(18.5)))


def test_contrast_fills_the_arteries(normal: Phantom) -> None:
    """An angiography has voxels of contrast agent about the skull base that the plain scan lacks."""
    base = generate(normal.spec.with_acquisition(contrast=True, slices=28), matrix=160)
    added = (base.hu - normal.hu)[8:14] > 80
    assert 20 < int(added.sum()) < 4000


def test_the_skull_cap_brightens_what_it_holds(normal: Phantom) -> None:
    """Beam hardening lifts the whole brain of the highest slices, and hardly that of the middle."""
    low, high = (generate(normal.spec.with_acquisition(hardening=h), matrix=96).hu for h in (0.0, 1.5))
    brain = (low > 20) & (low < 50)
    lift = [
        float((high - low)[index][brain[index]].median())
        for index in range(len(low))
        if brain[index].sum() > 60
    ]
    assert max(lift[-2:]) > 8
    assert lift[len(lift) // 2] < 4
