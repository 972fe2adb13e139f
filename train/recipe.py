"""Recipes: what to train and how, one small TOML file each in `train/recipes/`.

`default` makes the network that the service runs; the `seed-…` ones repeat the published study
(docs/howto/train.md has what it did, and what is mended here).
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ich_triage.domain.input_spec import BONE, BRAIN, SOFT, STROKE, SUBDURAL, InputSpec, Window
from ich_triage.domain.labels import SUBTYPES
from ich_triage.errors import SettingsError, wrong_value
from ich_triage.model.network import ArchitectureSpec

from .fit import FitSettings, Stage
from .loop import Hardware
from .precision import Precision

WindowName = Literal["brain", "subdural", "bone", "soft", "stroke"]
#: The display windows by name.
WINDOWS: dict[WindowName, Window] = {
    "brain": BRAIN,
    "subdural": SUBDURAL,
    "bone": BONE,
    "soft": SOFT,
    "stroke": STROKE,
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Recipe(_Part):
    #: what it is, for people
    about: str
    #: seed of split, order, augmentation and initial weights
    seed: int = 0


class _NetworkRecipe(_Recipe):
    #: AdamW's
    weight_decay: float = Field(default=0.01, ge=0)
    #: Lightning's name of the number format; "auto" takes what this machine is fastest in
    precision: Precision | Literal["auto"] = "auto"
    #: GPUs, or processes on the CPU, each with a batch of its own; "auto" takes every GPU
    devices: int | Literal["auto"] = "auto"
    #: machines, as `torchrun` or the cluster starts them
    nodes: int = Field(default=1, ge=1)
    #: Lightning's name of how several work together: "auto", "ddp", "fsdp", …
    strategy: str = "auto"

    @property
    def hardware(self) -> Hardware:
        """The same for the loop."""
        return Hardware(
            precision=self.precision, devices=self.devices, nodes=self.nodes, strategy=self.strategy
        )


class ForestRecipe(_Recipe):
    """A random forest on header fields and nothing else."""

    kind: Literal["forest"] = "forest"
    #: how features and labels meet: by SOP Instance UID, or each in an order of its own, as published
    joined: Literal["uid", "file_order"] = "uid"
    #: trees
    trees: int = Field(default=100, ge=1)
    #: how patients or slices are parted
    split: Literal["patient", "slice"] = "patient"


class Cycle(_Part):
    """One learning-rate cycle of a classifier."""

    #: passes over the slices
    epochs: int = Field(ge=1)
    #: peak learning rate of the head
    learning_rate: float = Field(gt=0)
    #: peak learning rate of the body; none means that of the head
    body_learning_rate: float | None = Field(default=None, gt=0)
    #: train the head and the body's batch norms alone; a body that starts at random is trained all the same
    frozen: bool = False
    #: pixels per side in this cycle (progressive resizing); none means the recipe's
    size: int | None = Field(default=None, ge=32)


class SliceRecipe(_NetworkRecipe):
    """A classifier of single slices."""

    kind: Literal["slices"] = "slices"
    #: any bleed or none, or which of the five on slices that have one
    task: Literal["binary", "multilabel"]
    #: name of the classifier, of timm or torchvision
    backbone: str
    #: pixels per side
    size: int = Field(default=256, ge=32)
    #: input channels, by name of the window
    windows: tuple[WindowName, ...] = ("brain", "subdural", "bone")
    #: how patients or slices are parted
    split: Literal["patient", "slice"] = "patient"
    #: slices with a smaller share of brain are not trained on
    least_brain_share: float = Field(default=0.0, ge=0, lt=1)
    #: what softens some slices in training: blur, or pixels that change places, published as blur
    blur: Literal["gaussian", "scatter"] = "gaussian"
    #: slices in a batch
    batch: int = Field(default=256, ge=1)
    #: batches whose gradients make one step
    accumulate: int = Field(default=1, ge=1)
    #: one after the other
    cycles: tuple[Cycle, ...] = Field(min_length=1)

    @property
    def outputs(self) -> int:
        """How many probabilities it gives."""
        return 1 if self.task == "binary" else len(SUBTYPES)

    @property
    def input_spec(self) -> InputSpec:
        """What the classifier is fed."""
        windows = tuple(WINDOWS[name] for name in self.windows)
        return InputSpec(size=self.size, windows=windows, neighbour_offsets_mm=())


class StudyRecipe(_NetworkRecipe):
    """The network that reads whole studies."""

    kind: Literal["study"] = "study"
    #: timm name of the backbone
    backbone: str = ArchitectureSpec.backbone
    #: channels of the decoder, length of what stands for a slice, width of the sequence head
    decoder: int = Field(default=ArchitectureSpec.decoder, ge=1)
    embedding: int = Field(default=ArchitectureSpec.embedding, ge=1)
    hidden: int = Field(default=ArchitectureSpec.hidden, ge=1)
    #: pixels per side
    size: int = Field(default=192, ge=32, multiple_of=32)
    #: one after the other
    stages: tuple[Stage, ...] = Field(min_length=1)

    @property
    def input_spec(self) -> InputSpec:
        """What the network is fed."""
        return InputSpec(size=self.size)

    @property
    def architecture(self) -> ArchitectureSpec:
        """What is built."""
        return ArchitectureSpec(
            backbone=self.backbone,
            channels=self.input_spec.channels,
            decoder=self.decoder,
            embedding=self.embedding,
            hidden=self.hidden,
            mirrored=True,
        )

    @property
    def fit(self) -> FitSettings:
        """How it is trained."""
        return FitSettings(
            seed=self.seed,
            stages=self.stages,
            weight_decay=self.weight_decay,
            hardware=self.hardware,
        )


NetworkRecipe = Annotated[SliceRecipe | StudyRecipe, Field(discriminator="kind")]
Recipe = Annotated[ForestRecipe | SliceRecipe | StudyRecipe, Field(discriminator="kind")]
_KINDS: dict[str, type[_Recipe]] = {"forest": ForestRecipe, "slices": SliceRecipe, "study": StudyRecipe}
_RECIPE: TypeAdapter[ForestRecipe | SliceRecipe | StudyRecipe] = TypeAdapter(Recipe)


def names() -> list[str]:
    """The recipes that come with the product."""
    return sorted(Path(file.name).stem for file in _folder().iterdir() if file.name.endswith(".toml"))


def load(recipe: str, overrides: Sequence[str] = ()) -> ForestRecipe | SliceRecipe | StudyRecipe:
    """A recipe by name, or of a file, with `key=value` overrides. Raises SettingsError."""
    path = Path(recipe) if recipe.endswith(".toml") else _folder() / f"{recipe}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"no recipe {recipe}; there are {', '.join(names())}, or give a .toml file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"recipe {recipe}: {error}") from error
    for override in overrides:
        values |= _override(recipe, override)
    try:
        return _RECIPE.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the whole"
        kind = _KINDS.get(values.get("kind", ""))
        keys = f"; its keys are {', '.join(kind.model_fields)}" if kind and len(first["loc"]) == 2 else ""
        raise SettingsError(f"recipe {recipe}: {where}: {wrong_value(first)}{keys}") from error


def load_network(recipe: str, overrides: Sequence[str] = ()) -> SliceRecipe | StudyRecipe:
    """The same, for what trains a network. Raises SettingsError."""
    loaded = load(recipe, overrides)
    if isinstance(loaded, ForestRecipe):
        raise SettingsError(
            f"recipe {recipe} is a forest on header fields, no network; `python -m train compare` has it"
        )
    return loaded


def _override(recipe: str, text: str) -> dict[str, Any]:
    """`key=value`; what is no TOML value is a string."""
    key, _, value = text.partition("=")
    if not key.strip() or not value.strip():
        raise SettingsError(f"recipe {recipe}: {text!r} is not key=value")
    try:
        return tomllib.loads(f"{key.strip()} = {value}")
    except tomllib.TOMLDecodeError:
        return {key.strip(): value.strip()}


def _folder() -> Path:
    return Path(str(resources.files(__package__))) / "recipes"
