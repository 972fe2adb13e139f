"""What a package says about studies with known answers, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.model.calibration import Calibration
from ich_triage.model.manifest import MaskRule, Metric
from ich_triage.model.masks import marked
from ich_triage.model.network import MASK_STRIDE
from ich_triage.model.package import Network

from . import gates, metrics
from .agreement import dice
from .cases import Case, Facts

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Strings = NDArray[np.str_]

#: Bins of the volume of all bleeds of a study, mL.
VOLUME_BINS_ML = ((0, 1), (1, 5), (5, 30), (30, 1000))


@dataclass(frozen=True, kw_only=True, eq=False)
class KeySlice:
    """The slice to look at: the one with the most blood, or where there is none the one most suspected."""

    #: its index, feet first
    index: int
    #: the input's first window, (S, S), 0..255
    picture: NDArray[np.uint8]
    #: share of each cell that the most present subtype fills, (S/4, S/4), 0..1
    truth: Floats
    #: share of each cell that each subtype's mask fills, (5, S/4, S/4), 0..1
    found: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What the network said about one study, beside the truth."""

    #: what is known of the study
    facts: Facts
    #: (6,): 0, 1, or NaN where unknown
    study_labels: Floats
    #: (Z, 6): 0, 1, or NaN where unknown
    slice_labels: Floats
    #: whether anybody marked where the bleeds are
    marked: bool
    #: (Z, 6)
    slice_logits: Floats
    #: (6,)
    study_logits: Floats
    #: see `Predictions`, without the studies' axis
    measured_ml: Floats
    dice: Floats
    pointed: Bools
    pointed_by_chance: Floats
    dice_of_everything: Floats
    #: what to show of it
    key: KeySlice


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What the network said about N studies, beside the truth."""

    #: what is known of each study
    facts: Sequence[Facts]
    #: (N, 6): 0, 1, or NaN where unknown
    study_labels: Floats
    #: (N, 6)
    study_logits: Floats
    #: each (Z, 6): 0, 1, or NaN where unknown
    slice_labels: Sequence[Floats]
    #: each (Z, 6)
    slice_logits: Sequence[Floats]
    #: volume of each subtype's mask (see `masks.marked`), whether a report would tell it or not, (N, 5), mL
    measured_ml: Floats
    #: overlap of the masks (see `agreement.dice`), NaN where the subtype is not there, (N, 5)
    dice: Floats
    #: whether the surest voxel of a subtype lies within (a cell of) its true mask, (N, 5)
    pointed: Bools
    #: how probably a cell of soft tissue picked blindly would, (N, 5)
    pointed_by_chance: Floats
    #: overlap if all soft tissue were marked, NaN where the subtype is not there, (N, 5)
    dice_of_everything: Floats
    #: what to show of each
    keys: Sequence[KeySlice]
    #: whether anybody marked where the bleeds are, (N,)
    marked: Bools

    @property
    def labels(self) -> Bools:
        """Whether the study has it, (N, 6); what is unknown counts as absent, so look at `known`, too."""
        return self.study_labels > 0

    @property
    def known(self) -> Bools:
        """Whether the label of the study is known, (N, 6)."""
        return ~np.isnan(self.study_labels)

    @property
    def patients(self) -> Strings:
        """Keyed hash of each study's patient, (N,), for `metrics`; empty for a phantom, which is its own."""
        return np.array([facts.patient for facts in self.facts], dtype=str)

    @property
    def located(self) -> Bools:
        """Whether the study has the subtype, and somebody marked where, (N, 5)."""
        return self.labels[:, 1:] & self.marked[:, None]

    @property
    def true_ml(self) -> Floats:
        """(N, 5), mL; NaN where nobody measured it."""
        unknown = (np.nan,) * len(SUBTYPES)
        return np.array([facts.true_ml or unknown for facts in self.facts])

    @classmethod
    def of(cls, studies: Sequence[Prediction]) -> Predictions:
        """Studies side by side."""
        return cls(
            facts=[study.facts for study in studies],
            study_labels=np.array([study.study_labels for study in studies]),
            study_logits=np.array([study.study_logits for study in studies]),
            slice_labels=[study.slice_labels for study in studies],
            slice_logits=[study.slice_logits for study in studies],
            measured_ml=np.array([study.measured_ml for study in studies]),
            dice=np.array([study.dice for study in studies]),
            pointed=np.array([study.pointed for study in studies]),
            pointed_by_chance=np.array([study.pointed_by_chance for study in studies]),
            dice_of_everything=np.array([study.dice_of_everything for study in studies]),
            keys=[study.key for study in studies],
            marked=np.array([study.marked for study in studies]),
        )


def predict(network: Network, paths: Iterable[Path], rule: MaskRule) -> Predictions:
    """Run the network over cases, where its weights lie; masks follow the `rule`."""
    with torch.inference_mode():
        return Predictions.of([_predict_one(network, Case.load(path), rule) for path in paths])


def _predict_one(network: Network, case: Case, rule: MaskRule) -> Prediction:
    device = next(network.parameters()).device
    x = torch.tensor(case.x, device=device).float() / 255
    height = torch.tensor(case.height, device=device)
    embedding, mask = network.slice_net(x.to(memory_format=torch.channels_last))
    slice_logits, study_logits = network.sequence_net(embedding[None], height[None, :, None])
    mask, slices = mask.cpu(), slice_logits[0].cpu().numpy().astype(np.float64)
    cells = x.shape[-1] // MASK_STRIDE
    truth = (case.masks if case.marked else np.zeros((len(x), len(SUBTYPES), cells, cells))) / 255.0
    filled = _filled(mask, case.facts, rule)
    tissue = F.avg_pool2d(((x[:, :1] > 0) & (x[:, :1] < 1)).float(), MASK_STRIDE)[:, 0].cpu().numpy()
    peak = mask.transpose(0, 1).flatten(1).argmax(dim=1).numpy()
    by_subtype = truth.transpose(1, 0, 2, 3).reshape(len(SUBTYPES), -1) > 0
    return Prediction(
        facts=case.facts,
        study_labels=case.study.astype(np.float64),
        slice_labels=case.labels.astype(np.float64),
        marked=case.marked,
        slice_logits=slices,
        study_logits=study_logits[0].cpu().numpy().astype(np.float64),
        measured_ml=np.asarray(case.facts.slice_mm) * case.facts.cell_mm2 / 1000 @ filled.sum(axis=(2, 3)),
        dice=_dice(filled, truth, case.facts),
        pointed=by_subtype[np.arange(len(SUBTYPES)), peak],
        pointed_by_chance=by_subtype.sum(axis=1) / max((tissue > 0.5).sum(), 1),
        dice_of_everything=_dice(np.stack([tissue] * len(SUBTYPES), axis=1), truth, case.facts),
        key=_key_slice(case, truth, filled, slices[:, 0]),
    )


def _filled(mask: Tensor, facts: Facts, rule: MaskRule) -> Floats:
    """Share of each cell that the masks of logits (Z, 5, S/4, S/4) fill, same shape, 0..1."""
    fine = F.interpolate(torch.sigmoid(mask), scale_factor=float(MASK_STRIDE), mode="bilinear").numpy()
    voxel_ml = np.asarray(facts.slice_mm) * facts.cell_mm2 / MASK_STRIDE**2 / 1000
    masks = [marked(fine[:, k], voxel_ml, min_part_ml=rule.min_part_ml) for k in range(len(SUBTYPES))]
    share = F.avg_pool2d(torch.from_numpy(np.stack(masks, axis=1)).float(), MASK_STRIDE)
    return share.numpy().astype(np.float64)


def _dice(found: Floats, truth: Floats, facts: Facts) -> Floats:
    """(5,) of shares (Z, 5, S/4, S/4); NaN where the subtype is not there."""
    weight = np.asarray(facts.slice_mm)
    there = truth.max(axis=(0, 2, 3)) > 0
    return np.array(
        [dice(found[:, k], truth[:, k], weight) if there[k] else np.nan for k in range(len(SUBTYPES))]
    )


def _key_slice(case: Case, truth: Floats, found: Floats, logits: Floats) -> KeySlice:
    blood = truth.max(axis=1).sum(axis=(1, 2))
    index = int(blood.argmax() if blood.any() else logits.argmax())
    return KeySlice(
        index=index,
        picture=np.array(case.x[index, 0]),
        truth=truth[index].max(axis=0),
        found=found[index],
    )


def told(probability: Floats, least: float, rule: MaskRule) -> list[int]:
    """Subtypes that the report of a study (6,) names, as indices into `SUBTYPES`, most probable first.

    As serving does: none unless flagged, from `least` on; then those that the rule reports.
    """
    return rule.reported(probability) if probability[0] >= least else []


def named(probability: Floats, least: float, rule: MaskRule) -> Bools:
    """Which subtypes the reports of studies (N, 6) name, (N, 5); see `told`."""
    found = np.zeros((len(probability), len(SUBTYPES)), bool)
    for row, study in zip(found, probability, strict=True):
        row[told(study, least, rule)] = True
    return found


def figures(
    found: Predictions, calibration: Calibration, thresholds: Mapping[str, float]
) -> dict[str, Metric]:
    """Every figure of a set of studies, by name; what cannot be computed is left out.

    Whether there is any bleed must be known of each study; other labels count where they are known.
    """
    probability = calibration.study.probabilities(found.study_logits)
    slice_probability = [calibration.slices.probabilities(logits) for logits in found.slice_logits]
    named: dict[str, Metric | None] = {}
    for k, label in enumerate(LABELS):
        known = found.known[:, k]
        named[f"study_auc_{label}"] = metrics.auc(
            probability[known, k], found.labels[known, k], patients=found.patients[known]
        )
        pairs = [
            known_only(score[:, k], truth[:, k])
            for score, truth in zip(slice_probability, found.slice_labels, strict=True)
        ]
        named[f"slice_auc_{label}"] = metrics.grouped_auc(*zip(*pairs, strict=True), patients=found.patients)
    for name, least in thresholds.items():
        named |= _decisions(probability[:, 0] >= least, found, name)
    named |= _places(found)
    named |= _log_losses(slice_probability, found)
    return {name: metric for name, metric in named.items() if metric}


def known_only(score: Floats, truth: Floats) -> tuple[Floats, Bools]:
    """Scores (N,) and labels (N,) where these are 0 or 1, not NaN."""
    known = ~np.isnan(truth)
    return score[known], truth[known] > 0


def gate_figures(*parts: Predictions) -> dict[str, Metric]:
    """The honesty gates of studies drawn alike: what must not suffice to tell a bleed (see `train.gates`).

    Studies of data sources carry no features for the gates, only the baseline that counts bright voxels.
    """
    studies = [
        gates.GateFeatures(
            any_bleed=bool(study[0] > 0),
            slice_labels=slices > 0,
            metadata=np.array(facts.metadata),
            outside=np.array(facts.outside),
            hyperdense_ml=facts.hyperdense_ml,
            patient=facts.patient,
        )
        for part in parts
        for facts, study, slices in zip(part.facts, part.study_labels, part.slice_labels, strict=True)
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


def _places(found: Predictions) -> dict[str, Metric | None]:
    """Pointing accuracy and volume error of the subtypes that are there."""
    present = found.located
    error = found.measured_ml - found.true_ml
    patients = found.patients[np.nonzero(present)[0]]
    named = {
        "volume_absolute_error_ml": metrics.mean(np.abs(error[present]), patients=patients),
        "volume_bias_ml": metrics.mean(error[present], patients=patients),
    }
    for k, subtype in enumerate(SUBTYPES):
        hits = found.pointed[present[:, k], k]
        named[f"pointing_{subtype}"] = metrics.proportion(int(hits.sum()), len(hits))
    return named


def _log_losses(probability: Sequence[Floats], found: Predictions) -> dict[str, Metric | None]:
    """RSNA 2019: weighted log loss of the slices that have all six labels, and that of the constant prior.

    None where all of these bleed, or none does: there the prior knows the answer.
    """
    truth = np.concatenate(found.slice_labels)
    whole = ~np.isnan(truth).any(axis=1)
    label = truth[whole] > 0
    if len(np.unique(label[:, 0])) < 2:
        return {}
    patients = np.repeat(found.patients, [len(each) for each in found.slice_labels])[whole]
    weights = np.array([2.0] + [1.0] * len(SUBTYPES))

    def loss(p: Floats) -> Metric | None:
        clipped = np.clip(p, 1e-7, 1 - 1e-7)
        each = -np.where(label, np.log(clipped), np.log(1 - clipped)) @ weights / weights.sum()
        return metrics.mean(each, patients=patients, rounds=200)

    prior = np.broadcast_to(label.mean(axis=0), label.shape)
    return {
        "slice_log_loss": loss(np.concatenate(probability)[whole]),
        "baseline_constant_prior_log_loss": loss(prior),
    }
