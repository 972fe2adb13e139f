"""The plan: every published row, both ways, and shorter."""

from __future__ import annotations

import pytest

from ich_triage.errors import SettingsError
from train.compare.plan import PLAN, PUBLISHED_FLOOR, Row, Shortening, recipes, rows, shortened
from train.recipe import SliceRecipe

SLICES = [row for row in PLAN if row.recipe != "seed-rf"]


def test_every_published_figure_is_there() -> None:
    """With the floor that it was never set beside."""
    told = {row.name: row.published for row in PLAN if row.published is not None}
    assert told == {
        "forest": 0.5,
        "resnet18": 0.889,
        "resnet50": 0.913,
        "resnet101": 0.917,
        "densenet121": 0.918,
        "alexnet": 0.890,
    }
    floors = {row.name for row in PLAN if row.published_floor == PUBLISHED_FLOOR}
    assert floors == {"resnet50", "resnet101", "densenet121", "alexnet"}


@pytest.mark.parametrize("row", PLAN, ids=lambda row: row.name)
def test_both_ways_differ_in_what_is_mended_alone(row: Row) -> None:
    """So that the difference of their figures is that of the error."""
    published, mended = (each.model_dump() for each in recipes(row))
    assert (published.pop("split"), mended.pop("split")) == ("slice", "patient")
    errors = {
        "forest": ("joined", "file_order", "uid"),
        "brain-share": ("least_brain_share", 0.2, 0.0),
        "scatter": ("blur", "scatter", "gaussian"),
    }
    if row.name in errors:
        key, wrong, right = errors[row.name]
        assert (published.pop(key), mended.pop(key)) == (wrong, right)
    assert published == mended


def test_an_ablation_changes_one_thing() -> None:
    """Beside the plain binary row."""
    by_name = {row.name: recipes(row)[1].model_dump() for row in PLAN}
    plain = by_name["resnet18"]
    for name, key in (
        ("weight-decay", "weight_decay"),
        ("mixed-precision", "precision"),
        ("progressive", "cycles"),
        ("fitted", "cycles"),
    ):
        assert [each for each in plain if by_name[name][each] != plain[each]] == [key]
    cycles = by_name["progressive"]["cycles"]
    assert [cycle["size"] for cycle in cycles] == [64, 128, None]
    assert sum(cycle["epochs"] for cycle in cycles) == sum(cycle["epochs"] for cycle in plain["cycles"])


def test_shorter_keeps_the_steps_of_progressive_resizing() -> None:
    """A quarter and a half of the size, at whatever size; no more passes than asked for."""
    recipe = recipes(rows(["progressive"])[0])[1]
    assert isinstance(recipe, SliceRecipe)
    short = shortened(recipe, Shortening(size=128, epochs=1, batch=32))
    assert (short.size, short.batch) == (128, 32)
    assert [cycle.size for cycle in short.cycles] == [32, 64, None]
    assert [cycle.epochs for cycle in short.cycles] == [1, 1, 1]
    assert shortened(recipe, Shortening()) == recipe.model_copy(update={"devices": 1})


def test_rows_are_named() -> None:
    """All, or those asked for in the order of the plan; another name is refused with those that there are."""
    assert rows([]) == PLAN
    assert [row.name for row in rows(["alexnet", "forest"])] == ["forest", "alexnet"]
    with pytest.raises(SettingsError, match="no row vgg16; there are forest, resnet18"):
        rows(["vgg16"])
