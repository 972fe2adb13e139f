"""From a trained network to a package: calibrate, evaluate, write."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES
from ich_triage.errors import TrainingError
from ich_triage.model import package as packages
from ich_triage.model.calibration import Calibration, OperatingPoint
from ich_triage.model.chain import ChainNet
from ich_triage.model.manifest import Manifest, MaskRule, Metric, Rival
from ich_triage.model.network import IchNet
from ich_triage.model.package import Golden, Network, Package
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw

from . import calibrate
from .cases import Case
from .drawn import to_case
from .evaluation import Predictions, figures, gate_figures, known_only, named, predict
from .progress import watched
from .report import files as report
from .report.card import card
from .report.content import PICTURES, Material

log = structlog.get_logger(__name__)

#: The high-sensitivity point keeps this share of the calibration studies with a bleed.
_HIGH_SENSITIVITY = 0.97
#: Studies of a class below which thresholds, probabilities and figures are rough.
_FEW = 20
#: Phantom of the golden question: no patient's pixels go into a package.
_GOLDEN_SEED, _GOLDEN_SLICES = 1_000_000, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A network that is to become a package."""

    #: name of the package
    name: str
    #: in evaluation mode, on the CPU
    network: Network
    #: what it is fed
    input_spec: InputSpec
    #: whether anything that it learned from was drawn, not scanned
    synthetic: bool
    #: what the data were, for the manifest
    data: Mapping[str, str | int | float]
    #: the command that made it
    command: str
    #: when it was trained
    created: datetime
    #: studies that it learned from, by `study_hash`; empty for phantoms that their seeds name
    trained_on: frozenset[str] = frozenset()
    #: what it goes on from: its masks' rule stays where no study says better, and it is evaluated beside
    start: Package | None = None


def assemble(
    out: Path, trained: Trained, parts: Mapping[str, Sequence[Path]], *, generator_sha256: str | None = None
) -> Package:
    """Write the package to `out` and load it from there.

    `parts`: cases for `calibration`, for `test`, and for whatever else it is evaluated on. Raises
    TrainingError where one of the two lacks a class, PackageError.
    """
    require_both(parts)
    weights = packages.pack_weights(trained.network)
    network = packages.unpack_weights(_like(trained.network), weights)  # in half precision, as it is read
    before = _provisional(trained, weights)
    found = {part: predicted(network, part, paths, before.mask) for part, paths in parts.items()}
    manifest, by_part = _calibrated(before, found)
    if trained.start:
        manifest = manifest.model_copy(update={"rival": _rival(trained.start, parts["test"])})
    drawn = generator_sha256 is not None
    network.to("cpu")
    packages.save(
        out,
        manifest=manifest,
        weights=weights,
        golden=_golden(network, trained.input_spec),
        card=card(manifest, by_part, command=trained.command, drawn=drawn),
        trained_on=trained.trained_on,
    )
    material = Material(
        manifest=manifest,
        predicted=found,
        figures=by_part,
        generator_sha256=generator_sha256,
        pictures=PICTURES if drawn else 0,  # a package goes where its patients' pictures must not
    )
    report.write(out / "evaluation.json", material)
    return Package.load(out)


def require_both(parts: Mapping[str, Sequence[Path]]) -> None:
    """Thresholds and figures need studies with a bleed and without; few of a kind are said.

    Raises TrainingError.
    """
    for part in ("calibration", "test"):
        bleeding = sum(bool(Case.load(path).study[0] > 0) for path in parts[part])
        normal = len(parts[part]) - bleeding
        if not bleeding or not normal:
            raise TrainingError(
                f"of {len(parts[part])} {part} studies {bleeding} have a bleed: that says nothing about the "
                "others; give more studies, of patients that it has not learned from"
            )
        if min(bleeding, normal) < _FEW:
            log.warning("few_studies", part=part, bleeding=bleeding, normal=normal, wanted=_FEW)


def _like(network: Network) -> Network:
    return IchNet(network.spec) if isinstance(network, IchNet) else ChainNet(network.spec)


def predicted(network: Network, part: str, paths: Sequence[Path], rule: MaskRule) -> Predictions:
    """What `network` says of the cases, on the GPU where there is one, with progress."""
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    return predict(network, watched(paths, part, total=len(paths)), rule)


def _provisional(trained: Trained, weights: bytes) -> Manifest:
    """The manifest before calibration."""
    return Manifest(
        name=trained.name,
        version=trained.created.strftime("%Y.%m.%d"),
        created=trained.created,
        synthetic=trained.synthetic,
        architecture=trained.network.spec,
        input_spec=trained.input_spec,
        calibration=trained.start.manifest.calibration if trained.start else Calibration(),
        operating_points={"none": OperatingPoint(threshold=0.5, sensitivity=0.0, specificity=0.0)},
        mask=trained.start.manifest.mask if trained.start else MaskRule(),
        data=dict(trained.data),
        code_version=version("ich-triage"),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )


def _golden(network: Network, spec: InputSpec) -> Golden:
    case = to_case(generate(draw(_GOLDEN_SEED), matrix=spec.size), spec)
    middle = len(case.x) // 2
    part = slice(middle - _GOLDEN_SLICES // 2, middle + _GOLDEN_SLICES // 2 + 1)
    return Golden.make(network, np.array(case.x[part]), case.height[part])


def _rival(package: Package, paths: Sequence[Path]) -> Rival:
    """What the package that training went on from scores on the same test studies."""
    manifest = package.manifest
    found = predicted(package.network, "in force", paths, manifest.mask)
    package.network.to("cpu")
    return Rival(key=manifest.identity.key, metrics=frozen_figures(found, manifest))


def frozen_figures(found: Predictions, manifest: Manifest) -> dict[str, Metric]:
    """Figures at the package's own calibration and thresholds."""
    thresholds = {name: point.threshold for name, point in manifest.operating_points.items()}
    return figures(found, manifest.calibration, thresholds)


def _calibrated(
    manifest: Manifest, predicted: Mapping[str, Predictions]
) -> tuple[Manifest, dict[str, dict[str, Metric]]]:
    """The manifest with calibration and operating points, and the figures of the other parts."""
    fitted = predicted["calibration"]
    before = manifest.calibration
    slice_logits, slice_labels = (np.concatenate(each) for each in (fitted.slice_logits, fitted.slice_labels))
    calibration = Calibration(
        slices=calibrate.fit_platt(slice_logits, slice_labels, before.slices),
        study=calibrate.fit_platt(fitted.study_logits, fitted.study_labels, before.study),
        prevalence=float(fitted.labels[:, 0].mean()),
    )
    probability = calibration.study.probabilities(fitted.study_logits)
    thresholds = {
        "balanced": calibrate.balanced_threshold(probability[:, 0], fitted.labels[:, 0]),
        "high_sensitivity": calibrate.threshold_for_sensitivity(
            probability[:, 0], fitted.labels[:, 0], _HIGH_SENSITIVITY
        ),
    }
    rule = manifest.mask.model_copy(update={"subtype_thresholds": _subtype_thresholds(fitted, probability)})
    mask = _with_volume_errors(rule, fitted, named(probability, thresholds["balanced"], rule))
    by_part = {
        part: figures(found, calibration, thresholds)
        | (gate_figures(fitted, found) if part == "test" else gate_figures(found))
        for part, found in predicted.items()
        if part != "calibration"
    }
    test = by_part["test"]
    points = {
        name: OperatingPoint(
            threshold=threshold,
            sensitivity=test[f"sensitivity_{name}"].value,
            specificity=test[f"specificity_{name}"].value,
        )
        for name, threshold in thresholds.items()
    }
    update = {"calibration": calibration, "operating_points": points, "mask": mask, "metrics": test}
    return Manifest.model_validate(manifest.model_copy(update=update).model_dump()), by_part


def _subtype_thresholds(fitted: Predictions, probability: NDArray[np.float64]) -> tuple[float, ...]:
    found = []
    for k in range(1, len(SUBTYPES) + 1):
        score, label = known_only(probability[:, k], fitted.study_labels[:, k])
        both = 0 < label.sum() < len(label)
        found.append(calibrate.balanced_threshold(score, label) if both else 0.5)
    return tuple(found)


def _with_volume_errors(rule: MaskRule, fitted: Predictions, reported: NDArray[np.bool_]) -> MaskRule:
    """With the errors of the volumes that reports tell; where nobody marked any bleed, as before."""
    located = fitted.located
    if not located.any():
        return rule
    seen = located & reported & (fitted.measured_ml >= rule.min_part_ml)  # without a mask no volume is told
    errors = calibrate.volume_errors(fitted.measured_ml, fitted.true_ml, seen)
    return rule.model_copy(update={"volume_error": errors})
