"""The command, at toy size: drawn heads in, every kind of row out, and nothing trained twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from train import data
from train.__main__ import app
from train.compare.plan import PLAN, Shortening, rows
from train.compare.study import Study, repeat

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:Checkpoint directory:UserWarning",
    "ignore:.*num_workers.*:UserWarning",
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small phantoms in the RSNA layout, and their table."""
    folder = tmp_path_factory.mktemp("data")
    for command in (
        ["phantoms", str(folder / "drawn"), "--n", "16", "--matrix", "64", "--workers", "0"],
        ["metadata", str(folder / "drawn/sources.toml"), "--out", str(folder / "tables"), "--workers", "0"],
    ):
        told = CliRunner().invoke(app, command, catch_exceptions=False)
        assert told.exit_code == 0, told.output
    return folder / "tables"


def test_the_forest_needs_no_prepared_study(tables: Path, tmp_path: Path) -> None:
    """Its row comes from the table alone: by slice every judged slice is of a known patient, else none."""
    command = ["compare", "--data", str(tables), "--out", str(tmp_path), "--row", "forest"]
    told = CliRunner().invoke(app, command, catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert not (tables / data.CASES_FOLDER).exists()
    (result,) = json.loads((tmp_path / "compare.json").read_text())["results"]
    assert result["as_published"]["leaked"]["value"] > 0.9
    assert result["mended"]["leaked"]["value"] == 0
    assert (tmp_path / "compare.html").exists()


def test_a_classifier_is_trained_both_ways_and_once(tables: Path, tmp_path: Path) -> None:
    """By slice and by patient, on slices with a bleed; a second run finds both done and answers the same."""
    row = rows(["resnet50"])[0]
    small = replace(row, overrides=(*row.overrides, "backbone=resnet10t"))
    short = Shortening(size=64, epochs=1, batch=16)
    study = Study(tables=tables, out=tmp_path, rows=(small,), shortening=short, workers=0)
    table = data.tables(tables)[1]
    (result,) = repeat(study, table)
    assert result.as_published.leaked().value > result.mended.leaked().value == 0
    assert result.mended.scored.labels.shape[1] == 5
    assert result.mended.scored.labels.any(axis=1).all()
    assert result.mended.pretrained is False
    assert result.mended.recipe.split == "patient"
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    (again,) = repeat(study, table)
    assert (again.mended.scored.probability == result.mended.scored.probability).all()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == done


def test_the_chain_knows_normal_slices(tables: Path, tmp_path: Path) -> None:
    """Asked of all slices; mended, no subtype is more probable than a bleed is, and neither network anew."""
    which, chain = (
        replace(row, overrides=(*row.overrides, "backbone=resnet10t")) for row in rows(["resnet50", "chain"])
    )
    short = Shortening(size=64, epochs=1, batch=16)
    study = Study(tables=tables, out=tmp_path, rows=(which, chain), shortening=short, workers=0)
    alone, result = repeat(study, data.tables(tables)[1])
    for way in (result.as_published, result.mended):
        assert not way.scored.labels.any(axis=1).all()
    assert len(result.mended.scored.labels) > len(alone.mended.scored.labels)
    assert result.mended.scored.probability.mean() < result.as_published.scored.probability.mean()
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "resnet50-slice",
        "resnet50-patient",
        "resnet18-patient",
    }


def test_an_unknown_row_is_refused_first(tables: Path, tmp_path: Path) -> None:
    """One line with the rows that there are."""
    command = ["compare", "--data", str(tables), "--out", str(tmp_path), "--row", "vgg16"]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 1
    assert f"there is no row vgg16; there are {PLAN[0].name}" in told.output
    assert not list(tmp_path.iterdir())
