"""Recipes are typed files; what is wrong in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ich_triage.errors import SettingsError
from ich_triage.model.network import ArchitectureSpec
from train import recipe
from train.fit import FitSettings


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_that_comes_along_loads(name: str) -> None:
    """And says what it is."""
    assert recipe.load(name).about


def test_default_recipe_is_what_the_command_trains() -> None:
    """File and code cannot drift apart."""
    loaded = recipe.load("default")
    assert isinstance(loaded, recipe.StudyRecipe)
    assert loaded.fit == FitSettings()
    assert loaded.architecture == ArchitectureSpec(mirrored=True)


def test_switches_of_the_published_study() -> None:
    """Backbone, split, weight decay, number format and progressive resizing can be set from outside."""
    loaded = recipe.load(
        "seed-multilabel",
        [
            "backbone=alexnet",
            "split=slice",
            "weight_decay=0",
            "precision=32-true",
            "cycles=[{epochs=1, learning_rate=1e-2, size=64}, {epochs=2, learning_rate=1e-3}]",
        ],
    )
    assert isinstance(loaded, recipe.SliceRecipe)
    assert (loaded.backbone, loaded.split, loaded.weight_decay) == ("alexnet", "slice", 0)
    assert [cycle.size for cycle in loaded.cycles] == [64, None]
    assert loaded.input_spec.channels == 3


@pytest.mark.parametrize(
    ("name", "overrides", "named"),
    [
        ("seed-nothing", [], "there are default, retrain, seed-binary"),
        ("seed-binary", ["backbone"], "'backbone' is not key=value"),
        ("seed-binary", ["batch=0"], "batch: Input should be greater"),
        ("seed-binary", ["batches=3"], "batches: unknown key; its keys are about, seed"),
        ("seed-rf", ["joined=luck"], "joined: Input should be 'uid' or 'file_order'"),
    ],
)
def test_what_is_wrong_is_named(name: str, overrides: list[str], named: str) -> None:
    """Recipe, key and what is allowed."""
    with pytest.raises(SettingsError, match=named):
        recipe.load(name, overrides)


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    """Any TOML file can be named; one that is none says where."""
    own = tmp_path / "own.toml"
    own.write_text('kind = "forest"\nabout = "mine"\ntrees = 7\n')
    loaded = recipe.load(str(own))
    assert isinstance(loaded, recipe.ForestRecipe)
    assert loaded.trees == 7
    own.write_text('about = "x"\nkind = \n')
    with pytest.raises(SettingsError, match="line 2"):
        recipe.load(str(own))
