"""Size, side and place of bleeds of known shape."""

from __future__ import annotations

import numpy as np
import pytest

from ich_triage.domain.finding import ImageReference, Side
from ich_triage.imaging.head import Midline
from ich_triage.imaging.volume import InPlane, Volume
from ich_triage.inference.findings import Scene, measure, side_of
from ich_triage.model.manifest import MaskRule

SLICES, PIXELS, SPACING_MM, STEP_MM = 20, 100, 2.0, 5.0
NOTHING = np.zeros((5, SLICES, PIXELS, PIXELS), bool)
SUBDURAL = 4


@pytest.fixture
def scene() -> Scene:
    """An empty volume of 200 × 200 × 100 mm whose midline is its middle."""
    volume = Volume(
        series_instance_uid="1.2",
        hu=np.zeros((SLICES, PIXELS, PIXELS), np.float32),
        positions_mm=np.arange(SLICES) * STEP_MM,
        thickness_mm=np.full(SLICES, STEP_MM),
        pixel_spacing=(SPACING_MM, SPACING_MM),
        row=(1.0, 0.0, 0.0),
        column=(0.0, 1.0, 0.0),
        normal=(0.0, 0.0, 1.0),
        image_positions=np.array([[-100.0, -100.0, z * STEP_MM] for z in range(SLICES)]),
        tilt_deg=0.0,
        in_plane=InPlane(),
        images=tuple(ImageReference(sop_class_uid="1", sop_instance_uid=str(z)) for z in range(SLICES)),
    )
    midline = Midline(
        angle_deg=0.0, offsets_mm=np.full(SLICES, 100.0), pixel_spacing=(SPACING_MM, SPACING_MM)
    )
    return Scene(volume=volume, midline=midline, rule=MaskRule(subtype_thresholds=(0.5,) * 5))


def _ellipsoid(centre_mm: tuple[float, float, float], axes_mm: tuple[float, float, float]) -> np.ndarray:
    """Half-axes and centre as z, y, x in mm from the first voxel; (Z, Y, X) bool."""
    index = (
        np.mgrid[:SLICES, :PIXELS, :PIXELS] * np.array([STEP_MM, SPACING_MM, SPACING_MM])[:, None, None, None]
    )
    offset = (index - np.array(centre_mm)[:, None, None, None]) / np.array(axes_mm)[:, None, None, None]
    return np.asarray((offset**2).sum(axis=0) <= 1)


def _study(*probabilities: float) -> np.ndarray:
    return np.array([max(probabilities), *probabilities])


SLICE_SCORES = np.full((SLICES, 6), 0.1)


@pytest.mark.risk("R-021")
def test_ellipsoid_is_measured_as_geometry_says(scene: Scene) -> None:
    """Volume, ABC/2 by its own rule, side, centroid and slices of an ellipsoid on the left."""
    masks = NOTHING.copy()
    masks[SUBDURAL] = _ellipsoid((50, 90, 150), (22.5, 30, 24))
    (finding,) = measure(masks, _study(0, 0, 0, 0, 0.9), SLICE_SCORES, scene)
    expected = 4 / 3 * np.pi * 22.5 * 30 * 24 / 1000
    assert finding.volume_ml == pytest.approx(expected, rel=0.05)
    # Five slices count wholly and two by half.
    assert finding.abc2_ml == pytest.approx(60 * 48 * 6 * STEP_MM / 2000, rel=0.1)
    assert finding.side is Side.LEFT
    assert finding.centroid_lps == pytest.approx((50, -10, 50), abs=1)
    assert finding.key_slice == 10
    assert finding.slice_range == (6, 14)
    assert finding.volume_interval_ml is not None
    low, high = finding.volume_interval_ml
    assert low < finding.volume_ml < high


@pytest.mark.parametrize(
    ("x_mm", "half_width_mm", "side"),
    [(150, 10, Side.LEFT), (50, 10, Side.RIGHT), (100, 5, Side.MIDLINE), (100, 60, Side.BILATERAL)],
)
@pytest.mark.risk("R-004")
def test_side_is_the_patients(scene: Scene, x_mm: float, half_width_mm: float, side: Side) -> None:
    """Growing x is the patient's left; small on the midline and large across it are told apart."""
    zyx = np.argwhere(_ellipsoid((50, 100, x_mm), (20, 20, half_width_mm)))
    assert side_of(scene.midline.left_mm(zyx), np.ones(len(zyx))) is side


def test_single_voxel_and_line_can_be_measured(scene: Scene) -> None:
    """Shapes without an area give a volume and an ABC/2, not an error."""
    for part in (np.s_[5, 50, 50], np.s_[5, 50, 40:60]):
        masks = NOTHING.copy()
        masks[SUBDURAL][part] = True
        (finding,) = measure(masks, _study(0, 0, 0, 0, 0.9), SLICE_SCORES, scene)
        assert finding.volume_ml
        assert finding.abc2_ml


def test_finding_without_mask_points_at_its_surest_slice(scene: Scene) -> None:
    """Where no voxel is sure, size and side stay open and the key slice is the likeliest."""
    scores = SLICE_SCORES.copy()
    scores[7, SUBDURAL + 1] = 0.8
    (finding,) = measure(NOTHING, _study(0, 0, 0, 0, 0.9), scores, scene)
    assert (finding.volume_ml, finding.side, finding.centroid_lps) == (None, None, None)
    assert finding.key_slice == 7
    assert finding.slice_range == (7, 7)


def test_flagged_study_always_has_a_finding() -> None:
    """Several above their thresholds come most probable first; with none above, the likeliest is named."""
    rule = MaskRule(subtype_thresholds=(0.5,) * 5)
    assert rule.reported(_study(0.6, 0.2, 0.9, 0.1, 0.3)) == [2, 0]
    assert rule.reported(_study(0.1, 0.2, 0.3, 0.4, 0.2)) == [3]
