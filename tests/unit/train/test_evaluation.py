"""What is read off a network's answers, with a network that knows the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ich_triage.model.manifest import MaskRule
from ich_triage.model.network import MASK_STRIDE, ArchitectureSpec, IchNet
from tests.predictions import material, mixed, scanned, study
from train.cases import Case, Facts
from train.evaluation import Predictions, gate_figures, named, predict

SLICES, CELLS = 6, 16
SUBDURAL = 4


class Knowing(nn.Module):
    """Marks what it was told to mark, whatever it sees."""

    def __init__(self, masks: np.ndarray) -> None:
        super().__init__()
        self.masks = torch.from_numpy(masks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Any input to a fixed embedding and surely right masks."""
        return torch.zeros(len(x), ArchitectureSpec.embedding), self.masks * 40.0 - 20.0


@pytest.fixture
def case() -> Case:
    """A subdural bleed of 4 × 4 cells in two slices of 5 mm, and of one cell in a third; cells of 20 mm²."""
    masks = np.zeros((SLICES, 5, CELLS, CELLS), np.uint8)
    masks[2:4, SUBDURAL, 4:8, 4:8] = 255
    masks[4, SUBDURAL, 5, 5] = 255
    labels = np.zeros((SLICES, 6), bool)
    labels[2:5, [0, 1 + SUBDURAL]] = True
    x = np.full((SLICES, 5, CELLS * MASK_STRIDE, CELLS * MASK_STRIDE), 100, np.uint8)
    x[:, :, :, CELLS * MASK_STRIDE // 2 :] = 0
    facts = Facts(
        seed=2_000_000,
        style="a",
        true_ml=(0, 0, 0, 0, 33 * 20 * 5 / 1000),
        slice_mm=(5.0,) * SLICES,
        cell_mm2=20.0,
        thickness_mm=5.0,
        tilt_deg=0.0,
    )
    height = np.linspace(0, 1, SLICES, dtype=np.float32)
    labels = labels.astype(np.float32)
    return Case(
        x=x,
        masks=masks,
        labels=labels,
        study=labels.max(axis=0),
        images=np.full(SLICES, ""),
        height=height,
        facts=facts,
    )


def _predict(case: Case, marked: np.ndarray, folder: Path) -> Predictions:
    case.save(folder / "case.npz")
    network = IchNet(ArchitectureSpec(backbone="regnetx_002")).eval()
    network.slice_net = Knowing(marked.astype(np.float32) / 255)
    return predict(network, [folder / "case.npz"], MaskRule())


def test_a_network_that_knows_the_truth_is_told_right(case: Case, tmp_path: Path) -> None:
    """Overlap near one, the volume nearly true, pointing right; what is not there has no overlap."""
    found = _predict(case, case.masks, tmp_path)
    assert found.dice[0, SUBDURAL] > 0.9
    assert np.isnan(found.dice[0, :SUBDURAL]).all()
    assert found.measured_ml[0, SUBDURAL] == pytest.approx(case.facts.true_ml[SUBDURAL], rel=0.1)
    assert found.pointed[0, SUBDURAL]
    assert found.labels[0].tolist() == [True, False, False, False, False, True]


def test_blind_baselines_are_shares_of_soft_tissue(case: Case, tmp_path: Path) -> None:
    """33 of the cells that are neither black nor white, and the overlap of all of them marked."""
    found = _predict(case, case.masks, tmp_path)
    tissue = SLICES * CELLS * CELLS / 2
    assert found.pointed_by_chance[0, SUBDURAL] == pytest.approx(33 / tissue)
    assert found.dice_of_everything[0, SUBDURAL] == pytest.approx(2 * 33 / (33 + tissue))


def test_the_key_slice_shows_most_blood(case: Case, tmp_path: Path) -> None:
    """The first of the two slices with the largest area, with both outlines' cells."""
    key = _predict(case, np.zeros_like(case.masks), tmp_path).keys[0]
    assert key.index == 2
    assert key.picture.shape == (CELLS * MASK_STRIDE, CELLS * MASK_STRIDE)
    assert key.truth.sum() == 16
    assert key.found.max() < 0.01


def test_told_is_what_serving_would_tell() -> None:
    """Nothing of a study that is not flagged, the likeliest of one in which no subtype is sure."""
    rule = MaskRule(subtype_thresholds=(0.5, 0.5, 0.5, 0.5, 0.2))
    unflagged = [0.4, 0.1, 0.4, 0.1, 0.1, 0.3]
    two, unsure = [0.9, 0.1, 0.8, 0.1, 0.1, 0.3], [0.9, 0.1, 0.1, 0.4, 0.1, 0.1]
    found = named(np.array([unflagged, two, unsure]), 0.5, rule)
    assert [np.flatnonzero(each).tolist() for each in found] == [[], [1, 4], [2]]


def test_figures_draw_whole_patients() -> None:
    """Every study twice, the same patient's: nothing that is bootstrapped looks surer for it."""
    studies = [scanned(each, f"p{number}") for number, each in enumerate(mixed())]
    once, twice = material({"test": (*studies,)}), material({"test": (*studies, *studies)})
    one, two = once.figures["test"], twice.figures["test"]
    shares = ("sensitivity", "specificity", "pointing")
    bootstrapped = [name for name in one if not name.startswith(shares)]
    assert {"study_auc_any", "slice_auc_any", "volume_bias_ml", "slice_log_loss"} <= set(bootstrapped)
    for name in bootstrapped:
        assert two[name].model_dump() == pytest.approx(one[name].model_dump()), name
    assert two["study_auc_any"].n == two["slice_log_loss"].n == 12
    gate = [gate_figures(each.predicted["test"])["gate_hyperdense_count_auc"] for each in (once, twice)]
    assert gate[1].model_dump() == pytest.approx(gate[0].model_dump())


def test_slices_of_one_class_have_no_log_loss() -> None:
    """Where no whole-known slice bleeds, the constant prior knows the answer: nothing stands beside it."""
    normal = material({"test": tuple(study(2_000_000 + n) for n in range(3))}).figures["test"]
    assert "specificity_balanced" in normal
    assert not [name for name in normal if "log_loss" in name]
