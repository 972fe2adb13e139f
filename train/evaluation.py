"""What a package says about studies with known answers, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.model.calibration import Calibration
from ich_triage.model.manifest import MaskRule, Metric
from ich_triage.model.network import MASK_STRIDE
from ich_triage.model.package import Network

from . import gates, metrics
from .cases import Case, Facts

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Mask thresholds among which calibration chooses.
MASK_THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
#: Bins of the volume of all bleeds of a study, mL.
VOLUME_BINS_ML = ((0, 1), (1, 5), (5, 30), (30, 1000))


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What the network said about N studies, beside the truth."""

    #: what is known of each study
    facts: Sequence[Facts]
    #: (N, 6)
    labels: Bools
    #: (N, 6)
    study_logits: Floats
    #: each (Z, 6)
    slice_labels: Sequence[Bools]
    #: each (Z, 6)
    slice_logits: Sequence[Floats]
    #: at each of `MASK_THRESHOLDS`, (N, T, 5), mL
    measured_ml: Floats
    #: whether the surest voxel of a subtype lies within (a cell of) its true mask, (N, 5)
    pointed: Bools

    @property
    def true_ml(self) -> Floats:
        """(N, 5), mL."""
        return np.array([facts.true_ml for facts in self.facts])


def predict(
    network: Network,
    paths: Sequence[Path],
    *,
    watch: Callable[[Iterable[Path]], Iterable[Path]],
) -> Predictions:
    """Run the network over cases, where its weights lie; `watch` wraps the paths to show progress."""
    with torch.inference_mode():
        rows = [_predict_one(network, Case.load(path)) for path in watch(paths)]
    facts, labels, slices, studies, measured, pointed = zip(*rows, strict=True)
    return Predictions(
        facts=facts,
        labels=np.array([slice_labels.any(axis=0) for slice_labels in labels]),
        study_logits=np.array(studies, np.float64),
        slice_labels=labels,
        slice_logits=slices,
        measured_ml=np.array(measured),
        pointed=np.array(pointed),
    )


def _predict_one(network: Network, case: Case) -> tuple[Facts, Bools, Floats, Floats, Floats, Bools]:
    device = next(network.parameters()).device
    x = torch.tensor(case.x, device=device).float() / 255
    height = torch.tensor(case.height, device=device)
    embedding, mask = network.slice_net(x.to(memory_format=torch.channels_last))
    slice_logits, study_logits = network.sequence_net(embedding[None], height[None, :, None])
    logits = mask.cpu()
    fine = F.interpolate(torch.sigmoid(logits), scale_factor=float(MASK_STRIDE), mode="bilinear")
    pixels = np.stack([(fine >= least).sum((2, 3)).numpy() for least in MASK_THRESHOLDS])  # (T, Z, 5)
    voxel_ml = np.asarray(case.facts.slice_mm) * case.facts.cell_mm2 / MASK_STRIDE**2 / 1000
    peak = logits.transpose(0, 1).flatten(1).argmax(dim=1).numpy()
    truth = case.masks.transpose(1, 0, 2, 3).reshape(len(SUBTYPES), -1)
    return (
        case.facts,
        case.labels,
        slice_logits[0].cpu().numpy().astype(np.float64),
        study_logits[0].cpu().numpy().astype(np.float64),
        (pixels * voxel_ml[:, None]).sum(axis=1),
        truth[np.arange(len(SUBTYPES)), peak] > 0,
    )


def figures(
    found: Predictions, calibration: Calibration, thresholds: Mapping[str, float], rule: MaskRule
) -> dict[str, Metric]:
    """Every figure of a set of studies, by name; what cannot be computed is left out."""
    probability = calibration.study.probabilities(found.study_logits)
    slice_probability = [calibration.slices.probabilities(logits) for logits in found.slice_logits]
    named: dict[str, Metric | None] = {}
    for k, label in enumerate(LABELS):
        named[f"study_auc_{label}"] = metrics.auc(probability[:, k], found.labels[:, k])
        named[f"slice_auc_{label}"] = metrics.grouped_auc(
            [each[:, k] for each in slice_probability], [each[:, k] for each in found.slice_labels]
        )
    for name, least in thresholds.items():
        named |= _decisions(probability[:, 0] >= least, found, name)
    named |= _places(found, rule)
    named |= _log_losses(np.concatenate(slice_probability), np.concatenate(found.slice_labels))
    return {name: metric for name, metric in named.items() if metric}


def gate_figures(*parts: Predictions) -> dict[str, Metric]:
    """The honesty gates of studies drawn alike: what must not suffice to tell a bleed (see `train.gates`)."""
    studies = [
        gates.GateFeatures(
            any_bleed=bool(labels.any()),
            slice_labels=labels,
            metadata=np.array(facts.metadata),
            outside=np.array(facts.outside),
            hyperdense_ml=facts.hyperdense_ml,
        )
        for part in parts
        for facts, labels in zip(part.facts, part.slice_labels, strict=True)
    ]
    return gates.measure(studies)


def _decisions(flagged: Bools, found: Predictions, point: str) -> dict[str, Metric | None]:
    """Sensitivity, whole and by volume, and specificity at one operating point."""
    label, volume = found.labels[:, 0], found.true_ml.sum(axis=1)
    named = {
        f"sensitivity_{point}": metrics.proportion(int(flagged[label].sum()), int(label.sum())),
        f"specificity_{point}": metrics.proportion(int((~flagged[~label]).sum()), int((~label).sum())),
    }
    for low, high in VOLUME_BINS_ML:
        within = label & (volume >= low) & (volume < high)
        name = f"sensitivity_{point}_{low:g}_to_{high:g}_ml"
        named[name] = metrics.proportion(int(flagged[within].sum()), int(within.sum()))
    return named


def _places(found: Predictions, rule: MaskRule) -> dict[str, Metric | None]:
    """Pointing accuracy and volume error of the subtypes that are there."""
    present = found.labels[:, 1:]
    error = found.measured_ml[:, MASK_THRESHOLDS.index(rule.threshold)] - found.true_ml
    named: dict[str, Metric | None] = {"volume_absolute_error_ml": metrics.mean(np.abs(error[present]))}
    named["volume_bias_ml"] = metrics.mean(error[present])
    for k, subtype in enumerate(SUBTYPES):
        hits = found.pointed[present[:, k], k]
        named[f"pointing_{subtype}"] = metrics.proportion(int(hits.sum()), len(hits))
    return named


def _log_losses(probability: Floats, label: Bools) -> dict[str, Metric | None]:
    """RSNA 2019: weighted log loss of slices, and what the constant prior would have had."""
    weights = np.array([2.0] + [1.0] * len(SUBTYPES))

    def loss(p: Floats) -> Metric | None:
        clipped = np.clip(p, 1e-7, 1 - 1e-7)
        each = -np.where(label, np.log(clipped), np.log(1 - clipped)) @ weights / weights.sum()
        return metrics.mean(each, rounds=200)

    prior = np.broadcast_to(label.mean(axis=0), label.shape)
    return {"slice_log_loss": loss(probability), "baseline_constant_prior_log_loss": loss(prior)}
