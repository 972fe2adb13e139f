"""What the published study measured, row by row, and how each is run here: as published, and mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ich_triage.errors import SettingsError

from ..recipe import Cycle, ForestRecipe, SliceRecipe, load

#: Slices of the published study.
PUBLISHED_SLICES = 194_082
#: Share of them that it trained on.
PUBLISHED_TRAINED = 0.8
#: What "no" to every label of slices with a bleed has right there.
PUBLISHED_FLOOR = 0.725

#: The switches that are rows of their own are off in all others.
_PLAIN = ("weight_decay=0", "precision=32-true")
#: The binary recipe's passes: frozen at 64 pixels, then at 128, then at the recipe's size.
_PROGRESSIVE = (
    "cycles=[{epochs=2, learning_rate=3e-3, frozen=true, size=64}, "
    "{epochs=1, learning_rate=1e-5, body_learning_rate=1e-6, size=128}, "
    "{epochs=1, learning_rate=1e-5, body_learning_rate=1e-6}]"
)
#: Until the network knows the slices that it learns from: a leak shows in what can be learned by heart.
_FITTED = "cycles=[{epochs=20, learning_rate=1e-3}]"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the published study. How to run it: a recipe, with `key=value` overrides."""

    #: short and unique, for the command line
    name: str
    #: what it is, for people
    title: str
    #: share of right answers as published; None where no figure is told
    published: float | None
    #: the recipe
    recipe: str
    #: changes to it, both ways
    overrides: tuple[str, ...] = ()
    #: and as published
    as_published: tuple[str, ...] = ("split=slice",)
    #: and mended
    mended: tuple[str, ...] = ("split=patient",)
    #: what its trivial baseline has right in the published study; None where that is not told
    published_floor: float | None = None
    #: rows of a multilabel and of a binary network, whose training this one shares: the first is asked of all
    #: slices, and mended multiplied by the second
    chained: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Shortening:
    """How much less is run than the recipes say; None leaves a thing as it is there."""

    #: pixels per side; the steps of progressive resizing shrink alike
    size: int | None = None
    #: most passes of each cycle
    epochs: int | None = None
    #: slices in a batch
    batch: int | None = None


def _multilabel(name: str, title: str, published: float, *overrides: str) -> Row:
    return Row(
        name=name,
        title=f"which bleeds: {title}",
        published=published,
        recipe="seed-multilabel",
        overrides=(*_PLAIN, f"backbone={name}", *overrides),
        published_floor=PUBLISHED_FLOOR,
    )


def _switch(name: str, title: str, *overrides: str) -> Row:
    """On the binary network: the study does not say on which it tried its switches, nor what came of it."""
    return Row(
        name=name,
        title=f"any bleed: ResNet18, {title}",
        published=None,
        recipe="seed-binary",
        overrides=(*_PLAIN, *overrides),
    )


PLAN = (
    Row(
        name="forest",
        title="any bleed: random forest on headers",
        published=0.50,
        recipe="seed-rf",
        as_published=("split=slice", "joined=file_order"),
        mended=("split=patient", "joined=uid"),
    ),
    Row(
        name="resnet18",
        title="any bleed: ResNet18",
        published=0.889,
        recipe="seed-binary",
        overrides=_PLAIN,
    ),
    _multilabel("resnet50", "ResNet50", 0.913),
    _multilabel("resnet101", "ResNet101", 0.917),
    _multilabel("densenet121", "DenseNet121", 0.918, "batch=128"),
    _multilabel("alexnet", "AlexNet", 0.890),
    _switch("weight-decay", "weight decay 0.01", "weight_decay=0.01"),
    _switch("mixed-precision", "mixed precision", "precision=bf16-mixed"),
    _switch("progressive", "size 64, then 128, then 256", _PROGRESSIVE),
    _switch("fitted", "all of it trained for 20 passes, so that it knows its slices", _FITTED),
    replace(
        _switch("brain-share", "slices below 20% of brain not trained on; mended, all are"),
        as_published=("split=slice", "least_brain_share=0.2"),
    ),
    replace(
        _switch("scatter", "blur that scatters pixels; mended, a blur"),
        as_published=("split=slice", "blur=scatter"),
    ),
    Row(
        name="chain",
        title="which bleeds, of all slices: ResNet50 alone; mended, times ResNet18's any bleed",
        published=None,
        recipe="seed-multilabel",
        overrides=(*_PLAIN, "backbone=resnet50"),
        chained=("resnet50", "resnet18"),
    ),
)


def rows(names: Sequence[str]) -> tuple[Row, ...]:
    """Rows of the plan, all where none is named. Raises SettingsError."""
    known = [row.name for row in PLAN]
    for name in names:
        if name not in known:
            raise SettingsError(f"there is no row {name}; there are {', '.join(known)}")
    return tuple(row for row in PLAN if not names or row.name in names)


def recipes(row: Row) -> tuple[ForestRecipe | SliceRecipe, ForestRecipe | SliceRecipe]:
    """The row's recipe as published and mended, at the published length. Raises SettingsError."""
    both = [load(row.recipe, (*row.overrides, *changes)) for changes in (row.as_published, row.mended)]
    published, mended = both
    assert isinstance(published, ForestRecipe | SliceRecipe)
    assert isinstance(mended, ForestRecipe | SliceRecipe)
    return published, mended


def shortened(recipe: SliceRecipe, by: Shortening) -> SliceRecipe:
    """The recipe with less of what takes time."""
    size = by.size or recipe.size
    return recipe.model_copy(
        update={
            "size": size,
            "batch": by.batch or recipe.batch,
            "devices": 1,  # one run follows the other in one process
            "cycles": tuple(_shorter(cycle, by, size / recipe.size) for cycle in recipe.cycles),
        }
    )


def _shorter(cycle: Cycle, by: Shortening, scale: float) -> Cycle:
    epochs = min(cycle.epochs, by.epochs or cycle.epochs)
    size = cycle.size and max(32, round(cycle.size * scale))
    return cycle.model_copy(update={"epochs": epochs, "size": size})
