"""Finds the learning rate: raises it step by step and looks where the loss falls most steeply."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.tuner.tuning import Tuner
from matplotlib.figure import Figure

from ich_triage.errors import TrainingError

from .loop import Learner, trainer

PLOT = "learning_rate.png"
_LEAST, _MOST, _STEPS = 1e-6, 1.0, 60


def find(learner: Learner, folder: Path, *, title: str) -> float:
    """The rate at the steepest fall of the loss (Smith, WACV 2017), by Lightning's finder; plot in `folder`.

    Raises TrainingError where the loss falls nowhere. The learner's weights are as before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learner.settings = replace(learner.settings, steps=_STEPS)  # however short the run itself will be
    learner.sweeping = True
    tuner = Tuner(trainer(learner, folder))
    found: Any = tuner.lr_find(learner, min_lr=_LEAST, max_lr=_MOST, num_training=_STEPS)
    rates, losses, best = found.results["lr"], found.results["loss"], found.suggestion()
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    if best:
        axes.axvline(best, color="tab:red", label=f"steepest fall: {best:.1e}")
        axes.legend()
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=title)
    figure.savefig(folder / PLOT, dpi=110)
    if not best:
        raise TrainingError(
            f"the loss falls at no learning rate; see {folder / PLOT}, and give the recipe a larger batch"
        )
    return float(best)
