"""The published classifiers learn, freeze and resume as their recipes say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ich_triage.domain.input_spec import InputSpec
from train import classifier, recipe
from train.cases import Case
from train.drawn import draw_case
from train.loop import Position
from train.rate import PLOT, find
from train.recipe import SliceRecipe
from train.slices import SliceAddress, Slices, addresses, pixels
from train.training_mix import training_spec

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:Checkpoint directory:UserWarning",
    "ignore:.*num_workers.*:UserWarning",
)


def _recipe(*overrides: str) -> SliceRecipe:
    cycles = "cycles=[{epochs=1, learning_rate=1e-3, frozen=true}]"
    small = ["backbone=resnet10t", "size=64", "batch=8", "precision=32-true", cycles]
    loaded = recipe.load("seed-binary", [*small, *overrides])
    assert isinstance(loaded, SliceRecipe)
    return loaded


def _any_bleed(every: list[SliceAddress], labels: np.ndarray) -> classifier.Labelled:
    return classifier.Labelled(every, labels[:, :1], np.ones(len(every)))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small phantoms as the seed recipes see them: three windows, no neighbours."""
    folder = tmp_path_factory.mktemp("cases")
    spec = InputSpec(size=64, neighbour_offsets_mm=())
    for seed in (0, 4):
        draw_case(folder / f"{seed}.npz", training_spec(seed), spec, matrix=64, baselines=False)
    return sorted(folder.glob("*.npz"))


def test_every_slice_has_its_own_label_and_owner(paths: list[Path]) -> None:
    """Pixels, labels and patient of a slice are those of the case that it lies in."""
    every, _, labels, owner = addresses(paths)
    cases = [Case.load(path) for path in paths]
    assert len(every) == len(labels) == len(owner) == sum(len(case.x) for case in cases)
    last = len(every) - 1
    np.testing.assert_array_equal(labels[last], cases[1].labels[-1])
    assert owner[last] == 1
    torch.testing.assert_close(pixels(every[last], 64), torch.from_numpy(cases[1].x[-1].copy()) / 255)
    assert pixels(every[0], 32).shape == (3, 32, 32)


def test_augmentation_follows_from_the_position(paths: list[Path]) -> None:
    """The same number gives the same pixels, another one others."""
    every, _, labels, _ = addresses(paths)
    slices = Slices(every, labels, size=64, seed=0)
    one, again, other = (slices[Position(5, number)] for number in (3, 3, 4))
    torch.testing.assert_close(one.x, again.x, atol=0, rtol=0)
    assert not torch.equal(one.x, other.x)


@pytest.mark.parametrize("pretrained", [True, False])
def test_frozen_body_keeps_its_weights_and_its_batch_norm_learns(
    paths: list[Path], tmp_path: Path, pretrained: bool
) -> None:
    """A pretrained body stays as it is but for its batch norms; one that starts at random is trained."""
    every, _, labels, _ = addresses(paths)
    network, found = classifier.build(_recipe())
    assert not found
    before = {name: value.clone() for name, value in network.state_dict().items()}
    classifier.fit(_recipe(), network, _any_bleed(every, labels), folder=tmp_path, pretrained=pretrained)
    after = network.state_dict()
    assert torch.equal(after["layer1.0.conv1.weight"], before["layer1.0.conv1.weight"]) is pretrained
    assert not torch.equal(after["layer1.0.bn1.running_mean"], before["layer1.0.bn1.running_mean"])
    assert not torch.equal(after["layer1.0.bn1.weight"], before["layer1.0.bn1.weight"])
    assert not torch.equal(after["fc.weight"], before["fc.weight"])


def test_second_run_trains_nothing_again(paths: list[Path], tmp_path: Path) -> None:
    """What is done is read; the answer is the same."""
    every, _, labels, _ = addresses(paths)
    answers = []
    for _ in range(2):
        network, _ = classifier.build(_recipe("seed=3"))
        classifier.fit(
            _recipe("seed=3"), network, _any_bleed(every, labels), folder=tmp_path, pretrained=False
        )
        answers.append(classifier.predict(network, every[:5], 64))
    np.testing.assert_array_equal(answers[0], answers[1])
    assert answers[0].shape == (5, 1)


def test_rate_finder_leaves_a_plot_and_a_usable_rate(paths: list[Path], tmp_path: Path) -> None:
    """Between the ends of its range, and a picture to judge it by."""
    every, _, labels, _ = addresses(paths)
    network, _ = classifier.build(_recipe())
    learner = classifier.learner(_recipe(), network, _any_bleed(every, labels), number=0, pretrained=False)
    rate = find(learner, tmp_path, title="resnet10t")
    assert 1e-6 < rate < 1
    assert (tmp_path / PLOT).stat().st_size > 5000
