"""Makes the package that ships with the product, from nothing but seeds: draw, train, calibrate, evaluate."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
import torch

from ich_triage.domain.input_spec import InputSpec
from ich_triage.model import package as packages
from ich_triage.model.network import ArchitectureSpec, IchNet
from ich_triage.model.package import Package
from ich_triage.phantom.records import PhantomSpec
from ich_triage.phantom.spec import draw

from .assemble import Trained, assemble, require_both
from .cases import spec_json
from .drawn import FIRST_SEED, code_sha256, draw_case, generator_sha256
from .fit import Cases, FitSettings, fit, start_from
from .parallel import one_thread, run
from .progress import watch
from .training_mix import mix_sha256, training_spec

log = structlog.get_logger(__name__)

#: What the manifest's data say of how the weights came about, not of what they were measured on.
_OF_TRAINING = ("train_studies", "train_first_seed", "started_from_sha256", "kept_of_start")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many studies each part has."""

    #: for training, style "a", rare and faint bleeds more often; 0: the weights of the start as they are
    train: int = 1600
    #: for calibration and thresholds, style "a", the RSNA mix
    calibration: int = 300
    #: for testing, style "a", the RSNA mix
    test: int = 400
    #: for testing, style "b", which training never sees
    held_out: int = 120


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of `python -m train embedded`."""

    #: package folder to write
    out: Path
    #: folder for drawn studies and the checkpoint; a second run goes on where the first was cut off
    cache: Path
    #: how many studies
    sizes: Sizes
    #: training studies passed over at the beginning: those that `start` has learned from
    skip: int = 0
    #: network
    architecture: ArchitectureSpec
    #: what it is fed
    input_spec: InputSpec
    #: training loop
    fit: FitSettings
    #: pixels per side of a drawn slice; the resize to the network's takes what is more away
    matrix: int = 256
    #: processes that draw
    workers: int = 2
    #: pretrained backbone: a file, or None for a random start
    pretrained: Path | None = None
    #: folder of a package whose weights to go on from
    start: Path | None = None
    #: share of `start` in the weights that result, 0 … 1
    keep: float = 0.0

    @property
    def seeds(self) -> dict[str, range]:
        """Those of each part."""
        return {part: seeds(part, n, skip=self.skip) for part, n in asdict(self.sizes).items()}

    @functools.cached_property
    def started_from(self) -> Package | None:
        """The package at `start`. Raises PackageError."""
        return Package.load(self.start) if self.start else None


def make(plan: Plan) -> Package:
    """Run the whole plan and return the package as loaded from disk. Raises TrainingError, PackageError."""
    paths = draw_parts(
        plan.seeds,
        cache=plan.cache,
        spec=plan.input_spec,
        matrix=plan.matrix,
        workers=plan.workers,
    )
    require_both(paths)  # before hours of training
    weights = _train(plan, paths["train"])
    network = packages.unpack_weights(IchNet(plan.architecture), weights)
    if plan.started_from and plan.keep:
        average(network, plan.started_from, plan.keep)
    trained = Trained(
        name="embedded",
        network=network,
        input_spec=plan.input_spec,
        synthetic=True,
        data=_data(plan),
        command="python -m train embedded",
        created=datetime.now(UTC),
    )
    parts = {part: paths[part] for part in ("calibration", "test", "held_out")}
    return assemble(plan.out, trained, parts, generator_sha256=generator_sha256())


def average(network: IchNet, start: Package, keep: float) -> None:
    """Move the weights that `network` came to from `start` back towards it, by `keep` of the way, in place.

    So it keeps what the start was good at (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR
    2022).
    """
    before = start.network.state_dict()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(before[name].to(value.dtype), keep)


def _spec(part: str, seed: int) -> PhantomSpec:
    if part == "train":
        return training_spec(seed)
    return draw(seed, style="b" if part == "held_out" else "a")


def seeds(part: str, count: int, *, skip: int = 0) -> range:
    """Those of the first `count` studies of a part, of the training studies after the first `skip`."""
    first = FIRST_SEED[part] + (skip if part == "train" else 0)
    return range(first, first + count)


def draw_parts(
    parts: Mapping[str, range], *, cache: Path, spec: InputSpec, matrix: int, workers: int
) -> dict[str, list[Path]]:
    """Files of the cases of each part (name to seeds), drawn where they are not there yet."""
    folders = {part: _part_folder(cache, part, spec, matrix) for part in parts}
    paths = {part: [folders[part] / f"{seed:07d}.npz" for seed in parts[part]] for part in parts}
    wanted = [
        (part, seed, path) for part in parts for seed, path in zip(parts[part], paths[part], strict=True)
    ]
    missing = [each for each in wanted if not each[2].exists()]
    with watch("draw", total=len(wanted), done=len(wanted) - len(missing)) as advance:
        for _ in run(functools.partial(_draw, spec=spec, matrix=matrix), missing, workers=workers):
            advance()
    return paths


def _part_folder(cache: Path, part: str, spec: InputSpec, matrix: int) -> Path:
    """Where the cases of a part lie: those of other parts do not depend on what training draws."""
    code = mix_sha256() if part == "train" else code_sha256()
    folder = cache / f"cases_{_input_name(spec)}_{matrix}_{code[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _draw(case: tuple[str, int, Path], *, spec: InputSpec, matrix: int) -> None:
    """One case of part, seed and file, on one thread: there are as many processes as cores."""
    part, seed, path = case
    with one_thread():
        draw_case(path, _spec(part, seed), spec, matrix=matrix, baselines=part != "train")


def _input_name(spec: InputSpec) -> str:
    """The size; with what else differs from the default, so that no other network's input is read."""
    if spec == InputSpec(size=spec.size):
        return str(spec.size)
    return f"{spec.size}-{hashlib.sha256(spec_json(spec)).hexdigest()[:8]}"


def _train(plan: Plan, paths: Sequence[Path]) -> bytes:
    """Stored weights of the trained network; kept in the cache, so that evaluation alone can be run again."""
    folder = _fit_folder(plan)
    done = folder / packages.WEIGHTS
    if not done.exists():
        torch.manual_seed(plan.fit.seed)
        network = IchNet(plan.architecture)
        if plan.pretrained:
            network.load_backbone(plan.pretrained)
        if plan.started_from:
            start_from(network, plan.started_from)
        if paths:
            fit(network, Cases(paths, plan.input_spec, np.ones(len(paths))), plan.fit, folder=folder)
        folder.mkdir(parents=True, exist_ok=True)
        done.write_bytes(packages.pack_weights(network))
    return done.read_bytes()


def _data(plan: Plan) -> dict[str, str | int | float]:
    """What the data were. A phantom follows from seed and code, so these stand for its pixels.

    Weights that were not trained any further keep what their package says of their training.
    """
    counts: dict[str, str | int | float] = {f"{part}_studies": len(each) for part, each in plan.seeds.items()}
    first = {f"{part}_first_seed": each.start for part, each in plan.seeds.items()}
    kept = {"kept_of_start": plan.keep} if plan.keep else {}
    found = {
        "generator": "ich_triage.phantom",
        "generator_sha256": generator_sha256(),
        "pixels_per_side": plan.matrix,
        **counts,
        **first,
        **_started_from(plan),
        **kept,
    }
    if plan.sizes.train or not plan.started_from:
        return found
    measured = {name: value for name, value in found.items() if name not in _OF_TRAINING}
    trained = {name: value for name, value in plan.started_from.manifest.data.items() if name in _OF_TRAINING}
    return measured | trained


def _started_from(plan: Plan) -> dict[str, str]:
    start = plan.started_from
    return {"started_from_sha256": start.manifest.weights_sha256} if start else {}


def _fit_folder(plan: Plan) -> Path:
    """One folder for each training run that can differ, so that none goes on with another's checkpoint."""
    data = (plan.seeds["train"], plan.matrix, mix_sha256(), *_started_from(plan).values())
    run = (plan.architecture, plan.input_spec, plan.fit, *data)
    return plan.cache / f"fit_{hashlib.sha256(repr(run).encode()).hexdigest()[:12]}"
