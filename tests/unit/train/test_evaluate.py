"""The command, at toy size, on a package that was never trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES
from ich_triage.model.chain import ChainNet, ChainSpec
from ich_triage.model.manifest import MaskRule
from ich_triage.model.network import ArchitectureSpec, IchNet
from ich_triage.model.package import WEIGHTS, Golden, pack_weights, save, unpack_weights
from tests.predictions import manifest
from train.__main__ import app

SIZE, MATRIX = 96, 48


STUDY = ArchitectureSpec(backbone="regnetx_002")
CHAIN = ChainSpec(binary="regnetx_002", multilabel="regnetx_002")


def _package(folder: Path, network: IchNet | ChainNet, spec: InputSpec) -> Path:
    """A package folder with random weights, and a mask threshold that calibration never chooses."""
    weights = pack_weights(network)
    network = unpack_weights(network, weights)
    x, height = np.zeros((2, spec.channels, SIZE, SIZE), np.uint8), np.array([0, 1], np.float32)
    update = {
        "architecture": network.spec,
        "input_spec": spec,
        "mask": MaskRule(thresholds=(0.35,) * len(SUBTYPES)),
        "data": {"pixels_per_side": MATRIX},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    made = manifest().model_copy(update=update)
    save(folder, manifest=made, weights=weights, golden=Golden.make(network, x, height), card="")
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The default architecture, untrained."""
    torch.manual_seed(0)
    return _package(tmp_path / "package", IchNet(STUDY), InputSpec(size=SIZE))


@pytest.mark.timeout(600)
def test_it_draws_what_is_missing_and_writes_both_files(package: Path, tmp_path: Path) -> None:
    """The page and the JSON of both parts; a second run draws nothing again."""
    out, cache = tmp_path / "report", tmp_path / "cache"
    command = ["evaluate", str(package), "--out", str(out), "--cache", str(cache), "--workers", "0"]
    sizes = ["--test", "3", "--held-out", "1", "--pictures", "2"]
    first = CliRunner().invoke(app, [*command, *sizes], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    told = json.loads((out / "evaluation.json").read_text())
    assert [part["data"]["studies"] for part in told["parts"].values()] == [3, 1]
    assert told["parts"]["test"]["data"]["first_seed"] == 2_000_000
    assert "<h2" in (out / "evaluation.html").read_text()
    drawn = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    assert len(drawn) == 4
    CliRunner().invoke(app, [*command, "--test", "2", "--held-out", "0"], catch_exceptions=False)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")} == drawn
    assert list(json.loads((out / "evaluation.json").read_text())["parts"]) == ["test"]


@pytest.mark.timeout(600)
def test_another_input_of_the_same_size_is_drawn_anew(package: Path, tmp_path: Path) -> None:
    """Two chained classifiers on three windows share the cache with the default, and no study in it."""
    chain = _package(tmp_path / "chain", ChainNet(CHAIN), InputSpec(size=SIZE, neighbour_offsets_mm=()))
    out, cache = tmp_path / "report", tmp_path / "cache"
    for folder in (package, chain):
        command = ["evaluate", str(folder), "--out", str(out), "--cache", str(cache), "--workers", "0"]
        told = CliRunner().invoke(app, [*command, "--test", "1", "--held-out", "0"], catch_exceptions=False)
        assert told.exit_code == 0, told.output
    names = sorted(path.name.split("_")[1] for path in cache.iterdir())
    assert len(names) == 2
    assert names[0] == str(SIZE)


def test_what_is_no_package_says_what_to_do(tmp_path: Path) -> None:
    """One line: which folder, what it lacks, which one to name."""
    told = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--out", str(tmp_path / "out")])
    assert told.exit_code == 1
    assert "is no model package: it has no manifest.json; name the folder" in told.output
    assert "Traceback" not in told.output


def test_a_table_that_is_none_is_refused_first(package: Path, tmp_path: Path) -> None:
    """The option's own error says which file and what it should hold."""
    command = [
        "evaluate",
        str(package),
        "--out",
        str(tmp_path / "out"),
        "--reproduced",
        str(tmp_path / "no.json"),
    ]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2
    assert "--reproduced" in told.output


def test_a_damaged_package_says_what_to_do(package: Path, tmp_path: Path) -> None:
    """Weights that are not those of the manifest are refused before anything is drawn."""
    with (package / WEIGHTS).open("ab") as file:
        file.write(b"x")
    told = CliRunner().invoke(app, ["evaluate", str(package), "--out", str(tmp_path / "out")])
    assert told.exit_code == 1
    assert "copy the package again" in told.output
    assert not (tmp_path / "out").exists()
