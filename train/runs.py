"""One training run in one folder: what it is of, its weights, and what it answers.

A folder holds one run. `run.json` says what decides it; the same command goes on with it, another one is
refused, so that no weights are ever taken for those of another recipe or other data.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
import torch
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from ich_triage.errors import TrainingError
from ich_triage.model.chain import ChainNet, ChainSpec
from ich_triage.model.network import IchNet
from ich_triage.model.package import Package

from . import classifier, fit
from .assemble import Trained
from .data import Data, Slices
from .loop import Learner, save_whole
from .recipe import NetworkRecipe, SliceRecipe, StudyRecipe
from .scored import Scored

log = structlog.get_logger(__name__)

RECORD, WEIGHTS, PRETRAINED = "run.json", "network.safetensors", "pretrained.txt"
#: A disk with less is full: a checkpoint takes some tens of megabytes.
_LEAST_FREE = 64 << 20


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

    #: a package whose weights to go on from
    package: Package | None = None
    #: file of pretrained weights of the backbone
    pretrained: Path | None = None

    @property
    def seen(self) -> frozenset[str]:
        """Studies that the package has learned from."""
        return self.package.trained_on if self.package else frozenset()

    @classmethod
    def at(cls, package: Path | None, *, pretrained: Path | None = None) -> Start:
        """With the package in a folder. Raises PackageError."""
        return cls(package=Package.load(package) if package else None, pretrained=pretrained)


def train(recipe: SliceRecipe | StudyRecipe, data: Data, folder: Path, start: Start) -> None:
    """Train the recipe on the fold `train`, or go on where an earlier run in `folder` was cut off.

    Raises TrainingError where `folder` holds another run.
    """
    _claim(folder, _record(recipe, data, start))
    if (folder / WEIGHTS).exists():
        log.info("already_trained", folder=str(folder))
        return
    with _full_disk_said(folder):
        if isinstance(recipe, StudyRecipe):
            network: nn.Module = fit.fit(
                _network(recipe, start), _cases(recipe, data), recipe.fit, folder=folder
            )
        else:
            network = _train_slices(recipe, data, folder, start)
        save_whole(network, folder / WEIGHTS)
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        raise SystemExit  # several processes have trained; what comes after is one's


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
    return (folder / PRETRAINED).read_text() == str(True)


def score(data: Data, folder: Path, fold: str) -> Scored:
    """What the classifier trained in `folder` says of its task's slices in a fold. Raises TrainingError."""
    recipe = Record.read(folder).recipe
    assert isinstance(recipe, SliceRecipe)
    slices = of_task(recipe, data, fold)
    return Scored(
        probability=answers(folder, slices),
        labels=_targets(recipe, slices) > 0,
        patients=slices.patients,
    )


def answers(folder: Path, slices: Slices) -> NDArray[np.float64]:
    """What the classifier trained in `folder` says of any slices, (N, K) in 0..1. Raises TrainingError."""
    record, network = trained(folder)
    assert isinstance(record.recipe, SliceRecipe)
    logits = classifier.predict(network, slices.addresses, record.recipe.size)
    return np.asarray(1 / (1 + np.exp(-logits)))


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
    network, pretrained = classifier.build(recipe, start.pretrained)
    return classifier.learner(recipe, network, _labelled(recipe, data), number=0, pretrained=pretrained)


def _train_slices(recipe: SliceRecipe, data: Data, folder: Path, start: Start) -> nn.Module:
    if start.package:
        raise TrainingError("a classifier of slices starts from --pretrained, not from a package")
    network, pretrained = classifier.build(recipe, start.pretrained)
    pretrained = _settled(pretrained, folder)
    return classifier.fit(recipe, network, _labelled(recipe, data), folder=folder, pretrained=pretrained)


def _settled(pretrained: bool, folder: Path) -> bool:
    """Whether the run began with pretrained weights, whatever can be reached when it goes on.

    Raises TrainingError where they are needed once more and cannot be.
    """
    told = folder / PRETRAINED
    if not told.exists():
        told.write_text(str(pretrained))
    began = started_pretrained(folder)
    if began and not pretrained and not any(folder.glob("cycle_*/*")):
        raise TrainingError(
            f"the run in {folder} is to begin with pretrained weights of timm's hub, which cannot be reached "
            "now; make it reachable, or name a file with --pretrained and another folder with --out"
        )
    return began


@contextmanager
def _full_disk_said(folder: Path) -> Iterator[None]:
    """Torch and safetensors say of a full disk many things, and not that it is full."""
    try:
        yield
    except (RuntimeError, SafetensorError, OSError) as error:
        if shutil.disk_usage(folder).free > _LEAST_FREE:
            raise
        raise TrainingError(
            f"the disk of {folder} is full; free some space and run the same command again: training goes on "
            "from its last checkpoint"
        ) from error


def _labelled(recipe: SliceRecipe, data: Data) -> classifier.Labelled:
    slices = of_task(recipe, data, "train")
    return classifier.Labelled(slices.addresses, _targets(recipe, slices), slices.weights)


def _network(recipe: StudyRecipe, start: Start) -> IchNet:
    torch.manual_seed(recipe.seed)
    network = IchNet(recipe.architecture)
    if start.package:
        fit.start_from(network, start.package)
    else:
        network.load_backbone(start.pretrained)
    return network


def _cases(recipe: StudyRecipe, data: Data) -> fit.Cases:
    return fit.Cases(data.paths("train"), recipe.input_spec, data.weights("train"))


def _record(recipe: SliceRecipe | StudyRecipe, data: Data, start: Start) -> Record:
    before = start.package.manifest if start.package else None
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
        partial = folder / f"{RECORD}.{os.getpid()}.part"
        partial.write_text(record.model_dump_json(indent=2))
        partial.rename(folder / RECORD)
        return
    there = Record.read(folder)
    if there != record:
        differing = [name for name in Record.model_fields if getattr(there, name) != getattr(record, name)]
        raise TrainingError(
            f"{folder} holds another run ({', '.join(differing)} differ); name another folder with --out, or "
            "delete that one"
        )


def from_runs(
    folders: Sequence[Path], found: Data, began: Package | None, *, name: str, command: str
) -> Trained:
    """The trained network of one study recipe, or of a binary and a multilabel classifier.

    `began`: the package that the run went on from. Raises TrainingError where the runs are no such, were
    trained on other data than `found`, or on slices of the patients that would judge them.
    """
    records, networks = zip(*[trained(folder) for folder in folders], strict=True)
    if records[0].started_from_sha256 != (began.manifest.weights_sha256 if began else None):
        raise TrainingError(f"name the package that the run in {folders[0]} went on from with --start")
    told = found.told()
    for folder, record in zip(folders, records, strict=True):
        _require_judgeable(folder, record, told)
    return Trained(
        name=name,
        network=_one_network(records, networks),
        input_spec=found.spec,
        synthetic=any(record.synthetic for record in records),
        data={**told, **({"started_from_sha256": began.manifest.weights_sha256} if began else {})},
        command=command,
        created=datetime.fromtimestamp((folders[-1] / WEIGHTS).stat().st_mtime, UTC),
        trained_on=found.trained_on() | found.seen,
        start=began,
    )


def _require_judgeable(folder: Path, record: Record, told: Mapping[str, str | int | float]) -> None:
    """Raise TrainingError where the data's test patients say nothing about the run."""
    if record.data != told:
        raise TrainingError(
            f"the run in {folder} was trained on other studies or labels than the tables have now: its "
            "test patients may differ; train it again (`python -m train fit`)"
        )
    if isinstance(record.recipe, SliceRecipe) and record.recipe.split == "slice":
        raise TrainingError(
            f"the run in {folder} was split by slice: it has seen the patients that would judge it; train "
            "it with split=patient"
        )


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
