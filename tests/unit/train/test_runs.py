"""Recipes on the data sources, for a few steps: trained, resumed, calibrated, packaged, evaluated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ich_triage.errors import PackageError, TrainingError
from ich_triage.inference.devices import make_engine
from ich_triage.inference.engine import self_test
from ich_triage.model.manifest import SYNTHETIC_STAMP
from ich_triage.model.package import CARD, Package
from tests import pictures
from tests.packages import make_package
from train import data, rate, recipe, runs
from train.__main__ import app
from train.recipe import SliceRecipe, StudyRecipe
from train.runs import Start
from train.slices import pixels

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:Checkpoint directory:UserWarning",
    "ignore:.*num_workers.*:UserWarning",
)

_SLICES = (
    "backbone=resnet10t", "size=32", "batch=8", "precision=32-true",
    "cycles=[{epochs=1, learning_rate=1e-3}]",
)  # fmt: skip
_STUDIES = (
    "backbone=regnetx_002", "size=64", "precision=32-true",
    "stages=[{epochs=1, studies=4, window=4, crop=1.0, learning_rate=1e-3}]",
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of thirty patients; prepared studies join them."""
    return pictures.tables(tmp_path_factory.mktemp("tables"))


def _load(tables: Path, chosen: SliceRecipe | StudyRecipe) -> data.Data:
    return data.load(tables, chosen.input_spec, workers=0)


def _trained(tables: Path, name: str, overrides: tuple[str, ...], folder: Path) -> data.Data:
    chosen = recipe.load_network(name, overrides)
    found = _load(tables, chosen)
    runs.train(chosen, found, folder, Start())
    return found


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("seed-binary", "resnet18"),
        ("seed-multilabel", "resnet50"),
        ("seed-multilabel", "alexnet"),
        pytest.param("seed-multilabel", "resnet101", marks=pytest.mark.long),
        pytest.param("seed-multilabel", "densenet121", marks=pytest.mark.long),
    ],
)
def test_each_published_classifier_trains_and_answers(
    tables: Path, tmp_path: Path, name: str, backbone: str
) -> None:
    """Two steps; then a probability for each label of the slices that its task is about."""
    size = "size=64" if backbone == "alexnet" else "size=32"  # it pools three times and more
    steps = ("batch=60", "cycles=[{epochs=1, learning_rate=1e-3}]")
    overrides = (*_SLICES, f"backbone={backbone}", size, *steps)
    found = _trained(tables, name, overrides, tmp_path)
    scored = runs.score(found, tmp_path, "test")
    chosen = recipe.load_network(name, overrides)
    assert isinstance(chosen, SliceRecipe)
    assert scored.probability.shape == scored.labels.shape == (len(scored.patients), chosen.outputs)
    assert ((scored.probability > 0) & (scored.probability < 1)).all()
    if name == "seed-multilabel":
        assert scored.labels.any(axis=1).all()  # slices with a bleed, and no others


def test_progressive_sizes_and_accumulation_train(tables: Path, tmp_path: Path) -> None:
    """The switches of the recipe: three sizes one after the other, two batches a step, bfloat16, no decay."""
    cycles = "cycles=[" + ", ".join(f"{{epochs=1, learning_rate=1e-3, size={n}}}" for n in (32, 48, 64)) + "]"
    switches = ("size=64", "accumulate=2", "batch=16", "weight_decay=0.0", "precision=bf16-mixed", cycles)
    _trained(tables, "seed-binary", (*_SLICES, *switches), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("cycle_*")) == ["cycle_0", "cycle_1", "cycle_2"]


def test_a_finished_run_is_read_and_another_is_refused(tables: Path, tmp_path: Path) -> None:
    """The same command trains nothing again; another recipe does not take the folder."""
    _trained(tables, "seed-binary", _SLICES, tmp_path)
    weights = (tmp_path / runs.WEIGHTS).stat().st_mtime_ns
    _trained(tables, "seed-binary", _SLICES, tmp_path)
    assert (tmp_path / runs.WEIGHTS).stat().st_mtime_ns == weights
    with pytest.raises(TrainingError, match=r"holds another run \(recipe differ\); name another folder"):
        _trained(tables, "seed-binary", (*_SLICES, "seed=1"), tmp_path)


def test_brain_share_cut_and_slice_split_choose_the_slices(tables: Path) -> None:
    """The cut takes slices out of training and of nothing else; the published split parts no patients."""
    plain, cut = (
        recipe.load_network("seed-binary", (*_SLICES, f"least_brain_share={share}")) for share in (0, 0.99)
    )
    assert isinstance(plain, SliceRecipe) and isinstance(cut, SliceRecipe)
    found = _load(tables, plain)
    every = len(runs.of_task(plain, found, "train").addresses)
    assert every == 6 * len(found.paths("train"))
    with pytest.raises(TrainingError, match="no slice of fold train"):
        runs.of_task(cut, found, "train")
    assert len(runs.of_task(cut, found, "test").addresses) == 6 * len(found.paths("test"))
    leaky = recipe.load_network("seed-binary", (*_SLICES, "split=slice"))
    assert isinstance(leaky, SliceRecipe)
    assert len(set(runs.of_task(leaky, found, "test").patients)) > len(found.paths("test"))


def test_binary_and_multilabel_runs_make_one_package(tables: Path, tmp_path: Path) -> None:
    """Chained, calibrated and tested on patients that neither saw, and served like any other."""
    folders = [tmp_path / "binary", tmp_path / "multilabel"]
    for folder, name in zip(folders, ("seed-binary", "seed-multilabel"), strict=True):
        _trained(tables, name, _SLICES, folder)
    command = ["package", *map(str, folders), "--data", str(tables), "--out", str(tmp_path / "package")]
    done = CliRunner().invoke(app, [*command, "--name", "seed"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    package = Package.load(tmp_path / "package")
    self_test(make_engine(package))
    assert package.manifest.architecture.backbone == "resnet10t, resnet10t"
    assert not package.manifest.synthetic and package.manifest.data["test_studies"] == 6
    assert SYNTHETIC_STAMP not in (tmp_path / "package" / CARD).read_text()
    told = json.loads((tmp_path / "package" / "evaluation.json").read_text())
    assert told["parts"]["test"]["name"] == "test studies that training never saw"
    (_, one), (_, two) = (runs.trained(folder) for folder in folders)
    found = data.load(tables, package.manifest.input_spec, workers=0)
    with pytest.raises(TrainingError, match="a binary and a multilabel run, in this order"):
        runs.from_runs(folders[::-1], found, None, name="seed", command="")
    x = pixels(found.slices("patient", seed=0).addresses[0], 32)[None]
    with torch.inference_mode():
        logits, _ = package.network.slice_net(x)
        any_bleed, kinds = torch.sigmoid(one(x)), torch.sigmoid(two(x))
    torch.testing.assert_close(torch.sigmoid(logits[:, 1:]), any_bleed * kinds, atol=2e-3, rtol=0)


def test_study_recipe_goes_on_from_a_package_and_is_measured_beside_it(tables: Path, tmp_path: Path) -> None:
    """Its weights are where training starts; its figures on the same patients stand in the manifest."""
    first, second = tmp_path / "first", tmp_path / "second"
    _trained(tables, "default", _STUDIES, first)
    command = ["package", str(first), "--data", str(tables), "--out", str(tmp_path / "before")]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    start = tmp_path / "before"
    arguments = ["fit", "retrain", "--data", str(tables), "--out", str(second), "--start", str(start)]
    arguments += [part for each in _STUDIES for part in ("--set", each)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    arguments = ["package", str(second), "--data", str(tables), "--out", str(tmp_path / "after")]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1 and "with --start" in refused.output
    done = CliRunner().invoke(app, [*arguments, "--start", str(start)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    before, after = Package.load(start).manifest, Package.load(tmp_path / "after").manifest
    assert after.rival and after.rival.key == before.identity.key
    assert after.rival.metrics["study_auc_any"] == before.metrics["study_auc_any"]
    assert after.weights_sha256 != before.weights_sha256


def test_calibration_on_other_data_leaves_the_weights(tables: Path, tmp_path: Path) -> None:
    """The same network; thresholds, probabilities and figures are those of the new patients."""
    package = make_package(tmp_path / "package")
    command = ["calibrate", str(package), "--data", str(tables), "--out", str(tmp_path / "site")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    before, after = Package.load(package).manifest, Package.load(tmp_path / "site").manifest
    assert after.weights_sha256 == before.weights_sha256
    assert after.calibration != before.calibration and after.operating_points != before.operating_points
    assert after.mask.volume_error == before.mask.volume_error  # nobody marked a bleed here
    assert after.synthetic
    evaluated = ["evaluate", str(tmp_path / "site"), "--data", str(tables), "--out", str(tmp_path / "told")]
    assert CliRunner().invoke(app, evaluated, catch_exceptions=False).exit_code == 0
    told = json.loads((tmp_path / "told" / "evaluation.json").read_text())
    assert told["figures"]["test"]["study_auc_any"] == after.metrics["study_auc_any"].model_dump()


def test_cache_and_lr_find_go_before_training(tables: Path, tmp_path: Path) -> None:
    """Studies by fold; a plot, and a rate between the ends of its range."""
    chosen = [part for each in _SLICES for part in ("--set", each)]
    done = CliRunner().invoke(app, ["cache", "seed-binary", "--data", str(tables), *chosen])
    assert "test: 6 studies" in done.output, done.output
    command = ["lr-find", "seed-binary", "--data", str(tables), "--out", str(tmp_path), *chosen]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert re.search(r"steepest fall at \d\.\de-0\d", done.output), done.output
    assert (tmp_path / rate.PLOT).exists()


def test_mistakes_end_in_one_line_with_the_remedy(tables: Path, tmp_path: Path) -> None:
    """No tables, a recipe without a network, a package that does not fit, a run that is not done."""
    for command, said in (
        (["fit", "default", "--data", str(tmp_path)], "run `python -m train metadata SOURCES"),
        (["fit", "seed-rf", "--data", str(tables)], "is a forest on header fields, no network"),
        (["fit", "nothing", "--data", str(tables)], "no recipe nothing; there are default"),
        (["package", str(tmp_path), "--data", str(tables)], "holds no training run"),
    ):
        done = CliRunner().invoke(app, command)
        assert (done.exit_code, done.output.count("\n")) == (1, 1) and said in done.output
    with pytest.raises(PackageError, match="give the same backbone, or leave --start out"):
        chosen = recipe.load_network("default", _STUDIES)
        package = make_package(tmp_path / "package")
        runs.train(chosen, _load(tables, chosen), tmp_path / "run", Start.at(package))
