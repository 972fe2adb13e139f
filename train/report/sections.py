"""Sections about decisions: operating points, ROC, predictive values, subtypes, calibration, baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ich_triage.domain.labels import LABELS
from ich_triage.model.calibration import Platt

from .. import metrics, reliability
from ..evaluation import known_only
from .scored import Json, Scored, beside

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Strings = NDArray[np.str_]

#: Shares of studies with a bleed at which predictive values are told.
PREVALENCES = (0.027, 0.05, 0.10, 0.15, 0.40)
#: False positive rates of the drawn ROC.
_GRID = np.linspace(0, 1, 101)


def decisions(part: Scored) -> Json:
    """Sensitivity and specificity at each frozen operating point.

    Baselines raise as many flags: blindly, and where most voxels are hyperdense.
    """
    found: dict[str, Json] = {}
    for name, point in part.manifest.operating_points.items():
        flagged = part.flagged(name)
        densest = np.zeros(len(flagged), bool)
        densest[np.argsort(-part.hyperdense_ml, kind="stable")[: flagged.sum()]] = True
        found[name] = {
            "threshold": point.threshold,
            "flagged": int(flagged.sum()),
            **rates(flagged, part.bleeds, blind=float(flagged.mean())),
            "hyperdense_count": rates(densest, part.bleeds, blind=float(flagged.mean())),
        }
    return found


def rates(flagged: Bools, bleeds: Bools, *, blind: float) -> dict[str, Json]:
    """Sensitivity and specificity beside those of flagging the share `blind` of all studies blindly."""
    hits, alarms = flagged[bleeds], flagged[~bleeds]
    return {
        "sensitivity": beside(metrics.proportion(int(hits.sum()), len(hits)), blind),
        "specificity": beside(metrics.proportion(int((~alarms).sum()), len(alarms)), 1 - blind),
    }


def roc(part: Scored) -> Json:
    """The curve for any bleed with its band, the area without hidden bleeds, and those of the baselines."""
    score, label = part.probability[:, 0], part.bleeds
    patients = part.found.patients
    band = metrics.roc_band(score, label, _GRID, patients=patients)
    if band is None:
        return None
    true_rate, low, high = (each.tolist() for each in band)
    dense = metrics.roc_band(part.hyperdense_ml, label, _GRID, patients=patients, rounds=50)
    dense_area = metrics.auc(part.hyperdense_ml, label, patients=patients)
    clear = ~part.hidden
    clear_area = metrics.auc(score[clear], label[clear], patients=patients[clear])
    return {
        "auc": beside(part.figures.get("study_auc_any"), 0.5),
        "without_hidden_bleeds": {"left_out": int((~clear).sum()), "auc": beside(clear_area, 0.5)},
        "hyperdense_count_auc": beside(dense_area, 0.5),
        "curve": {
            "false_positive_rate": _GRID.tolist(),
            "true_positive_rate": true_rate,
            "low": low,
            "high": high,
            "hyperdense_count": dense[0].tolist() if dense else None,
        },
    }


def predictive_values(part: Scored) -> Json:
    """PPV and NPV of each operating point at each of `PREVALENCES`, beside the prevalence itself."""
    return {name: _at_prevalences(part.flagged(name), part.bleeds) for name in part.manifest.operating_points}


def _at_prevalences(flagged: Bools, bleeds: Bools) -> Json:
    right = (int(flagged[bleeds].sum()), int(bleeds.sum()))
    clear = (int((~flagged[~bleeds]).sum()), int((~bleeds).sum()))
    rows: list[Json] = []
    for prevalence in PREVALENCES:
        ppv, npv = metrics.predictive_values(right, clear, prevalence=prevalence)
        rows.append(
            {"prevalence": prevalence, "ppv": beside(ppv, prevalence), "npv": beside(npv, 1 - prevalence)}
        )
    return rows


def labels(part: Scored) -> Json:
    """For `any` and each subtype: AUC of studies and slices, average precision, sensitivity, specificity.

    Sensitivity and specificity stand at the package's threshold of the subtype; for `any` at the main point.
    """
    first = part.manifest.operating_points[part.main_point].threshold
    thresholds = (first, *part.manifest.mask.subtype_thresholds)
    found: dict[str, Json] = {}
    for k, name in enumerate(LABELS):
        score, label = known_only(part.probability[:, k], part.found.study_labels[:, k])
        told = score >= thresholds[k]
        precision = metrics.average_precision(
            score, label, patients=part.found.patients[part.found.known[:, k]]
        )
        found[name] = {
            "positive": int(label.sum()),
            "threshold": thresholds[k],
            "auc": beside(part.figures.get(f"study_auc_{name}"), 0.5),
            "slice_auc": beside(part.figures.get(f"slice_auc_{name}"), 0.5),
            "average_precision": beside(precision, float(label.mean()) if len(label) else None),
            **rates(told, label, blind=float(told.mean()) if len(told) else 0.0),
        }
    return found


def calibration(part: Scored) -> Json:
    """How far the probability of any bleed holds, before and after calibration, of studies and of slices.

    Baselines: the Brier score of the constant prior; the expected calibration error that as many perfectly
    calibrated probabilities would show by chance.
    """
    none, found = Platt(), part.found
    raw_slices = [none.probabilities(each) for each in found.slice_logits]
    raw_studies = list(none.probabilities(found.study_logits))
    return {
        "study": {
            "before": _reliability(raw_studies, found.study_labels, found.patients),
            "after": _reliability(list(part.probability), found.study_labels, found.patients),
        },
        "slice": {
            "before": _reliability(raw_slices, found.slice_labels, found.patients),
            "after": _reliability(part.slice_probability, found.slice_labels, found.patients),
        },
    }


def _reliability(scores: Sequence[Floats], truth: Iterable[Floats], patients: Strings) -> Json:
    """Of any bleed, the first label, where it is known; each study has one row, or one for each slice.

    Empty where it is known of none.
    """
    pairs = [
        known_only(np.atleast_2d(score)[:, 0], np.atleast_2d(label)[:, 0])
        for score, label in zip(scores, truth, strict=True)
    ]
    known = np.array([len(label) > 0 for _, label in pairs])
    if not known.any():
        return {"brier": None, "slope": None, "ece": None, "bins": []}
    probability, label = zip(*[pair for pair in pairs if len(pair[1])], strict=True)
    measured = reliability.measure(probability, label, patients=patients[known])
    share = float(np.concatenate(label).mean())
    bins: list[Json] = [
        {"predicted": b.predicted, "observed": b.observed.model_dump()} for b in measured.bins
    ]
    return {
        "brier": beside(measured.brier, share * (1 - share)),
        "slope": beside(measured.slope, None),
        "ece": beside(measured.ece, measured.ece_by_chance),
        "bins": bins,
    }


def data(part: Scored) -> Json:
    """What the part holds."""
    seeds = [facts.seed for facts in part.found.facts if facts.seed is not None]
    counts = part.found.labels.sum(axis=0)
    return {
        "studies": len(part.found.facts),
        "slices": sum(len(each) for each in part.found.slice_labels),
        "first_seed": min(seeds, default=None),
        "last_seed": max(seeds, default=None),
        "styles": list[Json](sorted({facts.style for facts in part.found.facts} - {""})),
        "positive": {label: int(n) for label, n in zip(LABELS, counts, strict=True)},
        "sha256": _fingerprint(part),
    }


def _fingerprint(part: Scored) -> str:
    """Hash of what the studies are and of their labels: the same for the same studies."""
    told = hashlib.sha256()
    for facts, labels in zip(part.found.facts, part.found.slice_labels, strict=True):
        volumes = [round(volume, 3) for volume in facts.true_ml or ()]
        known = np.packbits(np.stack([labels > 0, np.isnan(labels)]))
        told.update(f"{facts.study} {facts.seed} {facts.style} {volumes}".encode() + known.tobytes())
    return told.hexdigest()
