"""Shows how far training is."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from .progress import watch


class FitProgress(Callback):
    """Shows optimiser steps and the latest losses."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._done = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._done = trainer.global_step
        total = int(trainer.estimated_stepping_batches)
        self._advance = self._stack.enter_context(watch("train", total=total, done=self._done))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Count one step."""
        losses = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._advance(trainer.global_step - self._done, **losses)
        self._done = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the terminal as it was."""
        self._stack.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the terminal as it was."""
        self._stack.close()
