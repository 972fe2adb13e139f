"""Training beside a plain torch loop over the same batches: the same network, in turns.

The plain loop has no Lightning, no averaged weights, no schedule, no checkpoint, and a plainer loss. The
loader alone is held against what the model takes when its batch lies in memory. The network is the shipped
package's, at its own size, in the stages of the default recipe: whole slices foretell a fine-tuning.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ich_triage.domain.input_spec import InputSpec
from ich_triage.model.network import ArchitectureSpec, IchNet
from ich_triage.model.package import Package
from ich_triage.phantom.generate import generate
from train import classifier, fit, loop, recipe
from train.drawn import to_case
from train.loop import Hardware, Learner
from train.recipe import SliceRecipe, StudyRecipe
from train.slices import LabelledSlice, addresses
from train.training_mix import training_spec
from train.windows import Sample

from .table import Rows

#: What is fine-tuned in how many passes, in the measure of the time that it takes.
FINE_TUNED_SLICES, FINE_TUNED_EPOCHS = 1200, 5


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured, and on what."""

    #: phantoms drawn, and how often each is kept: a batch needs 16 files, which need not differ
    phantoms: int = 4
    copies: int = 6
    #: pixels per side of a drawn slice
    matrix: int = 256
    #: turns of each loop
    rounds: int = 3
    #: batches of a turn that do not count: caches and queues fill
    warm_up: int = 3
    #: batches of a turn that count
    batches: int = 6
    #: overrides of the recipe `seed-binary`
    classifier: tuple[str, ...] = ("size=128", "batch=64")


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One training, with what it takes to do it plainly."""

    #: for people
    name: str
    #: slices in a batch
    slices: int
    #: our training of so many batches
    learner: Callable[[], Learner]
    #: what both train
    network: nn.Module
    #: forward pass and loss of one batch in the plain loop
    loss: Callable[[Any], Tensor]
    #: whether its speed foretells a fine-tuning of the package
    fine_tuning: bool


def run(effort: Effort | None = None) -> Rows:
    """Medians of the turns."""
    effort = effort or Effort()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="bench-train-") as name:
        folder = Path(name)
        tasks = _tasks(folder, effort)
        return [row for task in tasks for row in _rows(task, _turns(task, folder, effort))]


def _tasks(folder: Path, effort: Effort) -> list[Task]:
    package = Package.embedded()
    spec = package.manifest.input_spec
    study = recipe.load_network("default")
    single = recipe.load_network("seed-binary", effort.classifier)
    assert isinstance(study, StudyRecipe) and isinstance(single, SliceRecipe)
    studies, slices = _draw(folder, (spec, single.input_spec), effort)
    assert isinstance(package.network.spec, ArchitectureSpec)
    network = IchNet(package.network.spec)
    cases = fit.Cases(studies, spec, np.ones(len(studies)))
    return [
        *(_study_task(network, cases, study.fit, number=number) for number in range(len(study.stages))),
        _slice_task(single, slices),
    ]


def _draw(folder: Path, specs: Iterable[InputSpec], effort: Effort) -> list[list[Path]]:
    """Files of the cases for each of `specs`."""
    phantoms = [generate(training_spec(seed), matrix=effort.matrix) for seed in range(effort.phantoms)]
    made = []
    for number, spec in enumerate(specs):
        below = folder / f"cases_{number}"
        below.mkdir()
        cases = [to_case(phantom, spec) for phantom in phantoms] * effort.copies
        made.append([below / f"{index}.npz" for index in range(len(cases))])
        for case, path in zip(cases, made[-1], strict=True):
            case.save(path)
    return made


def _half(hardware: Hardware) -> torch.dtype | None:
    """What the trainer computes in, where that is not single precision."""
    return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(hardware.number_format)


def _study_task(network: IchNet, cases: fit.Cases, settings: fit.FitSettings, *, number: int) -> Task:
    stage = settings.stages[number]
    pixels = round(cases.spec.size * stage.crop)
    half = _half(settings.hardware)

    def loss(batch: Sample) -> Tensor:
        x = batch.x.flatten(0, 1).to(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, half, enabled=half is not None):
            embedding, masks = network.slice_net(x)
        by_study = embedding.float().unflatten(0, batch.height.shape)
        slices, studies = network.sequence_net(by_study, batch.height[..., None])
        pairs = (
            (slices, batch.labels),
            (studies, batch.study),
            (masks.float().unflatten(0, batch.height.shape), batch.masks),
        )
        return sum(
            (F.binary_cross_entropy_with_logits(*pair) for pair in pairs), torch.zeros(()).to(x.device)
        )

    return Task(
        name=f"network, {stage.studies} × {stage.window} slices of {pixels}²",
        slices=stage.studies * stage.window,
        learner=lambda: fit.learner(network, cases, settings, number=number),
        network=network,
        loss=loss,
        fine_tuning=stage.crop == 1,
    )


def _slice_task(single: SliceRecipe, paths: list[Path]) -> Task:
    every, _, labels, _ = addresses(paths)
    slices = classifier.Labelled(every, labels[:, :1], np.ones(len(every)))
    network = classifier.empty(single)
    batch = min(single.batch, len(every))
    half = _half(single.hardware)

    def loss(batch: LabelledSlice) -> Tensor:
        x, wanted = batch
        with torch.autocast(x.device.type, half, enabled=half is not None):
            logits = network(x.to(memory_format=torch.channels_last))
        return F.binary_cross_entropy_with_logits(logits.float(), wanted)

    return Task(
        name=f"{single.backbone}, {batch} slices of {single.size}²",
        slices=batch,
        learner=lambda: classifier.learner(
            single, network, slices, number=len(single.cycles) - 1, pretrained=False
        ),
        network=network,
        loss=loss,
        fine_tuning=False,
    )


class _Clock(Callback):
    """Times the batches of a run of ours, but for the first."""

    def __init__(self, warm_up: int) -> None:
        self._warm_up = warm_up
        self._started = self._ended = 0.0

    @property
    def seconds(self) -> float:
        """For all that count."""
        return self._ended - self._started

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin after the last that does not count, and look again after each."""
        _finish()
        self._ended = perf_counter()
        if batch_idx + 1 == self._warm_up:
            self._started = self._ended


def _turns(task: Task, folder: Path, effort: Effort) -> dict[str, list[float]]:
    """Slices/s of each turn, for each loop."""
    task.network.train().to(memory_format=torch.channels_last)
    batch = next(iter(_loader(task, folder, effort)))
    works = {
        "ours": lambda: _ours(task, folder, effort),
        "plain": lambda: _plain(task, _loader(task, folder, effort), effort),
        "model alone": lambda: _plain(task, repeat(batch), effort),
        "loader alone": lambda: _timed(_loader(task, folder, effort), lambda _: None, effort),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(effort.rounds):
        for name, work in works.items():
            seconds[name].append(work())
    return {name: [effort.batches * task.slices / s for s in each] for name, each in seconds.items()}


def _learner(task: Task, effort: Effort) -> Learner:
    learner = task.learner()
    learner.settings = replace(learner.settings, steps=effort.warm_up + effort.batches)
    return learner


def _loader(task: Task, folder: Path, effort: Effort) -> DataLoader[Any]:
    learner = _learner(task, effort)
    learner.trainer = loop.trainer(learner, folder)
    return learner.train_dataloader()


def _ours(task: Task, folder: Path, effort: Effort) -> float:
    clock = _Clock(effort.warm_up)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        loop.run(_learner(task, effort), Path(name), callbacks=[clock])
    return clock.seconds


def _plain(task: Task, batches: Iterable[Any], effort: Effort) -> float:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = task.network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step(batch: Any) -> None:
        there = [each.to(device) for each in batch]
        optimizer.zero_grad()
        task.loss(type(batch)(*there)).backward()
        optimizer.step()

    return _timed(batches, step, effort)


def _timed(batches: Iterable[Any], step: Callable[[Any], None], effort: Effort) -> float:
    """Seconds for the batches that count."""
    started = 0.0
    for index, batch in enumerate(islice(batches, effort.warm_up + effort.batches)):
        step(batch)
        if index + 1 == effort.warm_up:
            _finish()
            started = perf_counter()
    _finish()
    return perf_counter() - started


def _finish() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _rows(task: Task, speeds: dict[str, list[float]]) -> Rows:
    plain = median(speeds["plain"])
    taken = median(speeds["model alone"])
    rows: Rows = []
    for name, each in speeds.items():
        minutes = FINE_TUNED_SLICES * FINE_TUNED_EPOCHS / median(each) / 60
        rows.append(
            {
                "training": task.name,
                "loop": name,
                "slices_per_s": round(median(each), 1),
                "range": f"{min(each):.1f} to {max(each):.1f}",
                "times_plain": round(median(each) / plain, 2),
                "times_model_alone": round(median(each) / taken, 2),
                "fine_tuning_min": round(minutes, 1) if task.fine_tuning and name == "ours" else "",
            }
        )
    return rows
