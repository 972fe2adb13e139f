"""The network on this machine: torch eager beside the engine that serving uses, same input, same outputs.

Turns are taken, so that a noisy minute hits all, with a pause after each, in which torch's threads stop
spinning. Preparation from HU is timed on its own and as part of the whole; on a GPU the peer of the whole is
the bare forward pass at half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from statistics import median
from time import perf_counter, sleep

import numpy as np
import torch

from ich_triage.imaging.prepare import prepare
from ich_triage.inference.devices import make_engine
from ich_triage.inference.engine import Engine, TorchEngine
from ich_triage.model.network import relative_height
from ich_triage.model.package import Package
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw

from .table import Rows

SLICES, REPEATS, PAUSE_S = 34, 15, 0.2


def run() -> Rows:
    """Medians of `REPEATS` turns, after one that is not counted."""
    package = Package.embedded()
    phantom = generate(draw(1, bleeds="random", slices=SLICES), matrix=512)
    hu = phantom.hu.cpu().numpy()
    positions = np.arange(SLICES, dtype=np.float64) * phantom.spacing[0]

    cuda = torch.cuda.is_available()
    peer = TorchEngine(package, device="cuda" if cuda else "cpu", batch=SLICES)
    own = make_engine(package, batch=SLICES)

    def prepared() -> torch.Tensor:
        on_device = torch.from_numpy(hu).to(own.input_device)
        return prepare(on_device, positions, phantom.spacing[1:], package.manifest.input_spec).tensor

    x, height = prepared(), relative_height(positions)
    works: dict[str, Callable[[], object]] = {
        "preparation, HU to tensor": prepared,
        "torch eager as it comes, cpu": lambda: _plain(package, x, height),
        f"torch eager, channels last, {peer.device}": lambda: _forward(peer, x, height),
        f"engine in force, {own.device}": lambda: _forward(own, x, height),
        f"engine in force, {own.device}, preparation included": lambda: _forward(own, prepared(), height),
    }
    if cuda:
        works["bare forward, half precision"] = _bare_forward(package, x)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(REPEATS + 1):
        for name, work in works.items():
            started = perf_counter()
            work()
            took = perf_counter() - started
            if turn:
                seconds[name].append(took)
            sleep(PAUSE_S)
    eager = median(seconds["torch eager as it comes, cpu"])
    channels_last = median(seconds[f"torch eager, channels last, {peer.device}"])
    difference = _difference(peer, own, x, height)
    return [
        {
            "what": name,
            "median_s": round(median(each), 3),
            "slices_per_s": round(SLICES / median(each), 1),
            "times_eager": round(eager / median(each), 2),
            "times_channels_last": round(channels_last / median(each), 2),
            "largest_difference_of_probabilities": f"{difference:.1e}" if "engine" in name else "",
        }
        for name, each in seconds.items()
    ]


def _forward(engine: Engine, x: torch.Tensor, height: np.ndarray) -> np.ndarray:
    return engine.study(engine.slices(x).embedding, height).study_logits


def _plain(package: Package, x: torch.Tensor, height: np.ndarray) -> torch.Tensor:
    """The package's network called as anybody would, float32 on the CPU."""
    with torch.inference_mode():
        embedding, _ = package.network.slice_net(x.cpu())
        slices, _ = package.network.sequence_net(embedding[None], torch.from_numpy(height)[None, :, None])
    return slices


def _bare_forward(package: Package, x: torch.Tensor) -> Callable[[], object]:
    """The slice network alone on CUDA, input there already, output left there."""
    network = copy.deepcopy(package.network.slice_net).to("cuda", torch.float16).eval()
    network = network.to(memory_format=torch.channels_last)
    half = x.to("cuda", torch.float16).to(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode():
            network(half)
        torch.cuda.synchronize()

    return run


def _difference(one: Engine, other: Engine, x: torch.Tensor, height: np.ndarray) -> float:
    answers = []
    for engine in (one, other):
        slices = engine.slices(x)
        study = engine.study(slices.embedding, height)
        logits = (slices.mask_logits, study.slice_logits, study.study_logits)
        answers.append(np.concatenate([1 / (1 + np.exp(-each.ravel())) for each in logits]))
    return float(np.abs(answers[0] - answers[1]).max())
