"""One training run in one folder: what it is of, its weights, and what it answers.

A folder holds one run. `run.json` says what decides it; the same command goes on with it, another one is
refused, so that no weights are ever taken for those of another recipe or other data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from ich_triage.errors import TrainingError
from ich_triage.model.chain import ChainNet, ChainSpec
from ich_triage.model.network import IchNet
from ich_triage.model.package import Package

from . import classifier, fit
from . import data as sources
from .assemble import Trained
from .data import Data, Slices
from .loop import Learner
from .recipe import NetworkRecipe, SliceRecipe, StudyRecipe
from .scored import Scored

log = structlog.get_logger(__name__)

RECORD, WEIGHTS = "run.json", "network.safetensors"
#: What the weights say of their start.
_PRETRAINED = "pretrained"


class Record(BaseModel):
    """What decides a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: the recipe, overrides applied
    recipe: NetworkRecipe
    #: sources, and of each fold the studies and the hash of what they hold and of their labels
    data: dict[str, str | int | float]
    #: whether any slice was drawn, not scanned, or the weights that it started from learned from such
    synthetic: bool
    #: SHA-256 of the weights that it started from
    started_from_sha256: str | None
    #: SHA-256 of the file of pretrained weights; None for timm's hub, where it can be reached
    pretrained_sha256: str | None

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Of the run in `folder`. Raises TrainingError."""
        try:
            return cls.model_validate_json((folder / RECORD).read_bytes())
        except (OSError, ValidationError) as error:
            raise TrainingError(
                f"{folder} holds no training run ({type(error).__name__}); name the folder that "
                "`python -m train fit … --out` wrote"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run begins with, if not at random."""

    #: folder of a package whose weights to go on from
    package: Path | None = None
    #: file of pretrained weights of the backbone
    pretrained: Path | None = None


def train(recipe: SliceRecipe | StudyRecipe, data: Data, folder: Path, start: Start) -> None:
    """Train the recipe on the fold `train`, or go on where an earlier run in `folder` was cut off.

    Raises TrainingError where `folder` holds another run.
    """
    _claim(folder, _record(recipe, data, start))
    if (folder / WEIGHTS).exists():
        log.info("already_trained", folder=str(folder))
        return
    told: dict[str, str] = {}
    if isinstance(recipe, StudyRecipe):
        network: nn.Module = fit.fit(_network(recipe, start), _cases(recipe, data), recipe.fit, folder=folder)
    else:
        network, pretrained = _train_slices(recipe, data, folder, start)
        told[_PRETRAINED] = str(pretrained)
    partial = folder / f"{WEIGHTS}.{os.getpid()}.part"  # each of several processes comes here
    save_model(network, str(partial), metadata=told)
    partial.rename(folder / WEIGHTS)


def trained(folder: Path) -> tuple[Record, nn.Module]:
    """The run in `folder` and its network. Raises TrainingError where it is not done."""
    record = Record.read(folder)
    recipe = record.recipe
    network = IchNet(recipe.architecture) if isinstance(recipe, StudyRecipe) else classifier.empty(recipe)
    if not (folder / WEIGHTS).exists():
        raise TrainingError(f"the run in {folder} is not done; run its `python -m train fit` again")
    load_model(network, folder / WEIGHTS)
    return record, network.eval().requires_grad_(False)


def started_pretrained(folder: Path) -> bool:
    """Whether the body of the classifier trained in `folder` began with pretrained weights."""
    with safe_open(folder / WEIGHTS, framework="pt") as weights:
        return bool(weights.metadata()[_PRETRAINED] == str(True))


def score(data: Data, folder: Path, fold: str) -> Scored:
    """What the classifier trained in `folder` says of its task's slices in a fold. Raises TrainingError."""
    record, network = trained(folder)
    recipe = record.recipe
    assert isinstance(recipe, SliceRecipe)
    slices = of_task(recipe, data, fold)
    logits = classifier.predict(network, slices.addresses, recipe.size)
    return Scored(
        probability=1 / (1 + np.exp(-logits)), labels=_targets(recipe, slices) > 0, patients=slices.patients
    )


def of_task(recipe: SliceRecipe, data: Data, fold: str) -> Slices:
    """The slices of a fold that the task is about: those with known labels; for `multilabel` with a bleed.

    Slices with less brain than the recipe wants are left out of training, and of nothing else.
    """
    slices = data.slices(recipe.split, seed=recipe.seed)
    chosen = slices.folds == fold
    if fold == "train":
        chosen &= slices.brain_share >= recipe.least_brain_share
    if recipe.task == "binary":
        chosen &= ~np.isnan(slices.labels[:, 0])
    else:
        chosen &= (slices.labels[:, 0] > 0) & ~np.isnan(slices.labels).any(axis=1)
    if not chosen.any():
        raise TrainingError(f"no slice of fold {fold} has the labels that the task {recipe.task} needs")
    return slices.where(chosen)


def _targets(recipe: SliceRecipe, slices: Slices) -> NDArray[np.float32]:
    """(N, K)."""
    return slices.labels[:, :1] if recipe.task == "binary" else slices.labels[:, 1:]


def name_of(recipe: SliceRecipe | StudyRecipe, data: Data, start: Start) -> str:
    """A folder's name for the run that these decide."""
    return hashlib.sha256(_record(recipe, data, start).model_dump_json().encode()).hexdigest()[:16]


def learner(recipe: SliceRecipe | StudyRecipe, data: Data, start: Start) -> Learner:
    """What trains the first cycle of the recipe, to find its learning rate."""
    if isinstance(recipe, StudyRecipe):
        return fit.learner(_network(recipe, start), _cases(recipe, data), recipe.fit, number=0)
    network, _ = classifier.build(recipe, start.pretrained)
    return classifier.learner(recipe, network, _labelled(recipe, data), number=0)


def _train_slices(recipe: SliceRecipe, data: Data, folder: Path, start: Start) -> tuple[nn.Module, bool]:
    """The network, and whether its body was pretrained."""
    if start.package:
        raise TrainingError("a classifier of slices starts from --pretrained, not from a package")
    network, pretrained = classifier.build(recipe, start.pretrained)
    classifier.fit(recipe, network, _labelled(recipe, data), folder=folder, pretrained=pretrained)
    return network, pretrained


def _labelled(recipe: SliceRecipe, data: Data) -> classifier.Labelled:
    slices = of_task(recipe, data, "train")
    return classifier.Labelled(slices.addresses, _targets(recipe, slices), slices.weights)


def _network(recipe: StudyRecipe, start: Start) -> IchNet:
    torch.manual_seed(recipe.seed)
    network = IchNet(recipe.architecture)
    if start.package:
        fit.start_from(network, Package.load(start.package))
    else:
        network.load_backbone(start.pretrained)
    return network


def _cases(recipe: StudyRecipe, data: Data) -> fit.Cases:
    return fit.Cases(data.paths("train"), recipe.input_spec, data.weights("train"))


def _record(recipe: SliceRecipe | StudyRecipe, data: Data, start: Start) -> Record:
    before = Package.load(start.package).manifest if start.package else None
    return Record(
        recipe=recipe,
        data=data.told(),
        synthetic=data.synthetic or bool(before and before.synthetic),
        started_from_sha256=before.weights_sha256 if before else None,
        pretrained_sha256=hashlib.sha256(start.pretrained.read_bytes()).hexdigest()
        if start.pretrained
        else None,
    )


def _claim(folder: Path, record: Record) -> None:
    """Write what the run is of, or see that the one in `folder` is the same. Raises TrainingError."""
    if not (folder / RECORD).exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(record.model_dump_json(indent=2))
        return
    there = Record.read(folder)
    if there != record:
        differing = [name for name in Record.model_fields if getattr(there, name) != getattr(record, name)]
        raise TrainingError(
            f"{folder} holds another run ({', '.join(differing)} differ); name another folder with --out, or "
            "delete that one"
        )


def from_runs(folders: Sequence[Path], tables: Path, name: str, start: Path | None) -> tuple[Trained, Data]:
    """The trained network of one study recipe, or of a binary and a multilabel classifier, and its data.

    `start`: the package that the run went on from. Raises TrainingError where the runs are no such, or were
    trained on other data than the tables have now.
    """
    records, networks = zip(*[trained(folder) for folder in folders], strict=True)
    spec = records[0].recipe.input_spec
    found = sources.load(tables, spec)
    told = found.told()
    for folder, record in zip(folders, records, strict=True):
        if record.data != told:
            raise TrainingError(
                f"the run in {folder} was trained on other studies or labels than {tables} has now: its test "
                "patients may differ; train it again (`python -m train fit`)"
            )
    began = Package.load(start) if start else None
    if records[0].started_from_sha256 != (began.manifest.weights_sha256 if began else None):
        raise TrainingError(f"name the package that the run in {folders[0]} went on from with --start")
    return Trained(
        name=name,
        network=_one_network(records, networks),
        input_spec=spec,
        synthetic=any(record.synthetic for record in records),
        data={**told, **({"started_from_sha256": began.manifest.weights_sha256} if began else {})},
        command="python -m train package",
        start=began,
    ), found


def _one_network(records: Sequence[Record], networks: Sequence[nn.Module]) -> IchNet | ChainNet:
    """Raises TrainingError where they make no package."""
    recipes = [record.recipe for record in records]
    if isinstance(networks[0], IchNet) and len(networks) == 1:
        return networks[0]
    tasks = [each.task if isinstance(each, SliceRecipe) else "study" for each in recipes]
    if tasks != ["binary", "multilabel"] or recipes[0].input_spec != recipes[1].input_spec:
        raise TrainingError(
            "a package is made of one run of a study recipe, or of a binary and a multilabel run, in this "
            "order, with the same size and windows"
        )
    spec = ChainSpec(
        binary=recipes[0].backbone, multilabel=recipes[1].backbone, channels=recipes[0].input_spec.channels
    )
    chain = ChainNet(spec)
    chain.slice_net.binary.load_state_dict(networks[0].state_dict())
    chain.slice_net.multilabel.load_state_dict(networks[1].state_dict())
    return chain.eval().requires_grad_(False)
