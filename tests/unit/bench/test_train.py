"""The benchmark of training measures what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import train
from bench.train import Effort, Task
from ich_triage.domain.input_spec import InputSpec
from ich_triage.model.network import ArchitectureSpec, IchNet
from train import fit, recipe
from train.recipe import SliceRecipe

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:Checkpoint directory:UserWarning",
    "ignore:.*num_workers.*:UserWarning",
)

EFFORT = Effort(phantoms=1, copies=2, matrix=64, rounds=1, warm_up=1, batches=1)


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    """A network of studies and a classifier, both small, on one phantom."""
    single = recipe.load("seed-binary", ["size=32", "batch=4", "backbone=resnet10t"])
    assert isinstance(single, SliceRecipe)
    spec = InputSpec(size=32)
    studies, slices = train._draw(tmp_path, (spec, single.input_spec), EFFORT)
    network = IchNet(ArchitectureSpec(backbone="resnet10t"))
    stage = fit.Stage(epochs=1, studies=2, window=2, crop=1.0, learning_rate=1e-3)
    settings = fit.FitSettings(stages=(stage,))
    cases = fit.Cases(studies, spec, np.ones(len(studies)))
    return [train._study_task(network, cases, settings, number=0), train._slice_task(single, slices)]


def test_every_loop_is_measured_beside_its_peer(tasks: list[Task], tmp_path: Path) -> None:
    """Each training has a turn of our loop, of a plain one, of the model alone and of the loader alone."""
    for turns in (train._turns(task, tmp_path, EFFORT) for task in tasks):
        assert list(turns) == ["ours", "plain", "model alone", "loader alone"]
        assert all(speed > 0 for speeds in turns.values() for speed in speeds)


def test_ratios_are_of_medians_and_whole_slices_foretell_a_time(tasks: list[Task]) -> None:
    """One slow turn changes nothing; 6,000 slices at 10 a second are 10 minutes."""
    speeds = {"ours": [10.0, 1.0, 11.0], "plain": [12.5], "model alone": [20.0], "loader alone": [40.0]}
    ours, plain, _, loader = train._rows(tasks[0], speeds)
    assert (ours["times_plain"], plain["times_plain"], loader["times_model_alone"]) == (0.8, 1.0, 2.0)
    assert ours["range"] == "1.0 to 11.0"
    assert [row["fine_tuning_min"] for row in (ours, plain)] == [10.0, ""]
    assert train._rows(tasks[1], speeds)[0]["fine_tuning_min"] == ""
