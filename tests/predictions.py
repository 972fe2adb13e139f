"""Predictions with known answers, made without a network: what reports are tested on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES
from ich_triage.model.calibration import Calibration, OperatingPoint
from ich_triage.model.manifest import Manifest
from ich_triage.model.network import ArchitectureSpec
from train.cases import Facts
from train.evaluation import KeySlice, Prediction, Predictions, figures
from train.report.content import Material
from train.report.scored import Scored

SLICES, CELLS, PIXELS = 5, 4, 16
#: mL of each subtype
NORMAL = (0.0,) * len(SUBTYPES)
SURE, UNSURE = 4.0, -4.0


def manifest(name: str = "toy") -> Manifest:
    """A synthetic package whose probabilities are just those of its logits."""
    return Manifest(
        name=name,
        version="1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        synthetic=True,
        architecture=ArchitectureSpec(),
        input_spec=InputSpec(),
        calibration=Calibration(),
        operating_points={
            "balanced": OperatingPoint(threshold=0.5, sensitivity=0.0, specificity=0.0),
            "high_sensitivity": OperatingPoint(threshold=0.01, sensitivity=0.0, specificity=0.0),
        },
        data={"generator_sha256": "0" * 64},
        code_version="0",
        weights_sha256="0" * 64,
    )


def study(
    seed: int,
    true_ml: tuple[float, ...] = NORMAL,
    *,
    logit: float = UNSURE,
    measured_ml: tuple[float, ...] | None = None,
    style: str = "a",
) -> Prediction:
    """One study: `logit` is said of any bleed and of each subtype that is there; the middle slice bleeds."""
    there = np.array(true_ml) > 0
    label = np.array([there.any(), *there])
    slice_labels = np.zeros((SLICES, 6), bool)
    slice_labels[SLICES // 2] = label
    logits = np.where(label, logit, UNSURE)
    logits[0] = logit
    cells = np.zeros((CELLS, CELLS))
    cells[1:3, 1:3] = there.any()
    rng = np.random.default_rng(seed)
    return Prediction(
        facts=Facts(
            seed=seed,
            style=style,
            true_ml=true_ml,
            slice_mm=(5.0,) * SLICES,
            cell_mm2=20.0,
            thickness_mm=5.0,
            tilt_deg=0.0,
            metadata=tuple(rng.random(3)),
            outside=tuple(rng.random(3)),
            hyperdense_ml=float(rng.random()),
        ),
        study_labels=label.astype(np.float64),
        slice_labels=slice_labels.astype(np.float64),
        marked=True,
        slice_logits=np.where(slice_labels, logit, UNSURE) + rng.normal(0, 0.1, slice_labels.shape),
        study_logits=logits,
        measured_ml=np.array(measured_ml or true_ml),
        dice=np.where(there, 0.5, np.nan),
        pointed=there,
        pointed_by_chance=np.where(there, 0.01, 0.0),
        dice_of_everything=np.where(there, 0.02, np.nan),
        key=KeySlice(
            index=SLICES // 2,
            picture=np.full((PIXELS, PIXELS), 90, np.uint8),
            truth=cells,
            found=np.stack([cells] * len(SUBTYPES)),
        ),
    )


def scanned(study: Prediction, patient: str) -> Prediction:
    """The same study as if it came from a data source."""
    facts = replace(study.facts, seed=None, style="", patient=patient, metadata=(), outside=())
    return replace(study, facts=facts)


def without_slices(study: Prediction) -> Prediction:
    """The same study where nobody knows anything of single slices, as feedback alone leaves it."""
    return replace(study, slice_labels=np.full_like(study.slice_labels, np.nan))


def scored(*studies: Prediction) -> Scored:
    """These studies as the toy package decides them."""
    return material({"test": studies}).part("test")


def material(parts: dict[str, tuple[Prediction, ...]], *, name: str = "toy", pictures: int = 3) -> Material:
    """What a report of the toy package is made of; the gates, which take some seconds, are left out."""
    package = manifest(name)
    predicted = {part: Predictions.of(studies) for part, studies in parts.items()}
    thresholds = {point: value.threshold for point, value in package.operating_points.items()}
    return Material(
        manifest=package,
        predicted=predicted,
        figures={part: figures(found, package.calibration, thresholds) for part, found in predicted.items()},
        generator_sha256="1" * 64,
        pictures=pictures,
    )


def mixed(first_seed: int = 2_000_000, *, style: str = "a") -> tuple[Prediction, ...]:
    """Six bleeds (of which two missed) and six normal heads (of which one is flagged)."""
    bleeds = [
        study(first_seed + n, _only(n % 5, ml), logit=SURE if n < 4 else -2.0, style=style)
        for n, ml in enumerate((0.5, 3.0, 12.0, 40.0, 6.0, 0.7))
    ]
    normal = [study(first_seed + 6 + n, logit=2.0 if n == 0 else -3.0, style=style) for n in range(6)]
    return (*bleeds, *normal)


def _only(subtype: int, ml: float) -> tuple[float, ...]:
    return tuple(ml if k == subtype else 0.0 for k in range(len(SUBTYPES)))
