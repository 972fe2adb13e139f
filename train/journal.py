"""The log of experiments: what was run, on what, and what came of it; failures too."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch

from ich_triage.model.manifest import Manifest

from .embedded import Plan

_SHOWN = ("study_auc_any", "sensitivity_balanced", "specificity_balanced", "gate_hyperdense_count_auc")


@contextmanager
def record(path: Path | None, plan: Plan) -> Iterator[list[Manifest]]:
    """Append an entry to `path` when the block ends; put the manifest made into the list."""
    started = time.monotonic()
    outcome: list[Manifest] = []
    failure = ""
    try:
        yield outcome
    except BaseException as error:
        failure = f"{type(error).__name__}: {error}"
        raise
    finally:
        if path:
            entry = _entry(plan, outcome, failure, (time.monotonic() - started) / 60)
            with path.open("a") as file:
                file.write(entry)


def _entry(plan: Plan, outcome: list[Manifest], failure: str, minutes: float) -> str:
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    command = "python -m train " + " ".join(_public(argument) for argument in sys.argv[1:])
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"- command: `{command}`",
        f"- seed {plan.fit.seed}; {machine}; torch {torch.__version__}; {minutes:.0f} minutes",
    ]
    if failure:
        lines.append(f"- failed: {failure}")
    for manifest in outcome:
        figures = ", ".join(
            f"{name} {manifest.metrics[name].value:.3f}" for name in _SHOWN if name in manifest.metrics
        )
        lines.append(f"- {manifest.name} {manifest.version}: {figures}")
    return "\n".join([*lines, "", ""])


def _public(argument: str) -> str:
    """An argument without the folders of this machine."""
    return Path(argument).name if argument.startswith("/") else argument
