"""The one command, at toy size, from seeds to a package that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ich_triage.errors import TrainingError
from ich_triage.inference.devices import make_engine
from ich_triage.inference.engine import self_test
from ich_triage.model.manifest import SYNTHETIC_STAMP
from ich_triage.model.network import IchNet
from ich_triage.model.package import CARD, WEIGHTS, Package
from train.__main__ import app
from train.embedded import average, seeds


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:Checkpoint directory:UserWarning")
def test_command_makes_a_package_and_resumes(tmp_path: Path) -> None:
    """Drawn, trained, calibrated, evaluated and logged; a second run draws and trains nothing again.

    What it made can be calibrated and evaluated anew without any training.
    """
    out, cache, log = tmp_path / "package", tmp_path / "cache", tmp_path / "LOG.md"
    arguments = ["embedded", "--out", str(out), "--cache", str(cache), "--log", str(log), "--workers", "0"]
    sizes = {"train": 3, "calibration": 6, "test": 6, "held-out": 3, "epochs": 1, "study-epochs": 1}
    options = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    command = [*arguments, *options, "--size", "96", "--matrix", "48", "--backbone", "regnetx_002"]
    first = CliRunner().invoke(app, command, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    package = Package.load(out)
    self_test(make_engine(package))
    assert SYNTHETIC_STAMP in (out / CARD).read_text()
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["stamp"] == SYNTHETIC_STAMP
    assert {"study_auc_any", "gate_hyperdense_count_auc", "sensitivity_balanced"} <= evaluation["figures"][
        "test"
    ].keys()
    drawn = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    weights = (out / WEIGHTS).read_bytes()
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")} == drawn
    assert (out / WEIGHTS).read_bytes() == weights
    assert log.read_text().count("## ") == 2
    assert str(tmp_path) not in log.read_text()
    anew = tmp_path / "anew"
    for name, value in {"--train": "0", "--test": "7", "--out": str(anew)}.items():
        command[command.index(name) + 1] = value
    CliRunner().invoke(app, [*command, "--start", str(out)], catch_exceptions=False)
    assert (anew / WEIGHTS).read_bytes() == weights
    assert Package.load(anew).manifest.data == package.manifest.data | {"test_studies": 7}


def test_calibration_without_a_bleed_is_refused_before_training(tmp_path: Path) -> None:
    """Thresholds fitted on nothing but normal studies would mean nothing."""
    sizes = ["--train", "1", "--calibration", "1", "--test", "1", "--held-out", "1", "--matrix", "48"]
    command = ["embedded", "--out", str(tmp_path / "package"), "--cache", str(tmp_path / "cache"), *sizes]
    command += ["--workers", "0"]
    with pytest.raises(TrainingError, match="of 1 calibration studies 0 have a bleed"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_training_studies_can_begin_after_those_that_the_start_has_seen() -> None:
    """Only of the training part: the others are the same whatever was trained on."""
    assert seeds("train", 3, skip=2) == range(2, 5)
    assert not set(seeds("train", 2)) & set(seeds("train", 3, skip=2))
    assert seeds("test", 3, skip=2) == seeds("test", 3) == range(2_000_000, 2_000_003)


def test_weights_move_back_towards_the_start_by_what_is_kept() -> None:
    """Every floating-point weight and moving average, linearly; counters stay."""
    start = Package.embedded()
    network = IchNet(start.network.spec)
    came_to = {name: value.clone() for name, value in network.state_dict().items()}
    average(network, start, 0.25)
    for name, before in start.network.state_dict().items():
        expected = came_to[name]
        if expected.is_floating_point():
            expected = 0.75 * expected + 0.25 * before.float()
        torch.testing.assert_close(network.state_dict()[name], expected)


def test_keeping_of_a_start_that_is_not_given_is_refused(tmp_path: Path) -> None:
    """Before anything is drawn, instead of a package that silently kept nothing."""
    told = CliRunner().invoke(app, ["embedded", "--out", str(tmp_path / "package"), "--keep", "0.5"])
    assert told.exit_code == 2
    assert "nothing to keep without --start" in told.output


def test_training_on_nothing_from_nothing_is_refused(tmp_path: Path) -> None:
    """Before anything is drawn, instead of a package that says what chance says."""
    told = CliRunner().invoke(app, ["embedded", "--out", str(tmp_path / "package"), "--train", "0"])
    assert told.exit_code == 2
    assert "nothing would be learned without --start" in told.output
