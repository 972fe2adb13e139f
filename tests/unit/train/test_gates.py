"""Honesty gates of the synthetic data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ich_triage.domain.labels import Subtype
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw
from train import gates
from train.gates import (
    GateFeatures,
    features,
    hyperdense_count_auc,
    inside_skull,
    label_mix,
    measure,
    metadata_only_auc,
    outside_skull_auc,
)


@pytest.fixture(autouse=True)
def _fewer_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to see a leak; the intervals of reports take more."""
    monkeypatch.setattr(gates, "_DRAWS", 2)
    monkeypatch.setattr(gates, "_PERMUTATIONS", 6)


def _features(n: int, leak: float) -> list[GateFeatures]:
    rng = np.random.default_rng(1)
    studies = []
    for index in range(n):
        positive = bool(index % 2)
        labels = np.zeros((4, 6), bool)
        labels[1, [0, 5]] = positive
        studies.append(
            GateFeatures(
                any_bleed=positive,
                slice_labels=labels,
                metadata=rng.normal(size=4) + leak * positive,
                outside=rng.normal(size=6) + leak * positive,
                hyperdense_ml=float(rng.normal() + leak * positive),
            )
        )
    return studies


@pytest.mark.parametrize("gate", [metadata_only_auc, outside_skull_auc, hyperdense_count_auc])
@pytest.mark.risk("R-028")
def test_a_gate_sees_a_leak(gate) -> None:  # type: ignore[no-untyped-def]
    """Features that carry the label give an AUC near 1."""
    assert gate(_features(40, 4.0)).value > 0.9


@pytest.mark.risk("R-028")
def test_all_gates_are_measured_and_see_no_leak_where_there_is_none() -> None:
    """Features that do not carry the label give an AUC about .5, whichever gate looks."""
    whole = measure(_features(80, 0.0))
    assert set(whole) == {
        "gate_metadata_only_auc",
        "gate_outside_skull_auc",
        "gate_outside_skull_without_epidural_auc",
        "gate_hyperdense_count_auc",
    }
    assert all(found.low < 0.5 < found.high for found in whole.values())


def test_too_few_studies_measure_none() -> None:
    """Whoever tests on a handful of studies learns less, and loses no finished training run to it."""
    assert set(measure(_features(6, 0.0))) == {"gate_hyperdense_count_auc"}


def test_features_of_a_phantom() -> None:
    """Blood raises the count inside the skull of the same head, and leaves its header alone."""
    spec = draw(4, bleeds=(Subtype.INTRAPARENCHYMAL,), slices=20)
    large = replace(spec, bleeds=(replace(spec.bleeds[0], volume_ml=40.0, hu=60.0),))
    without, with_blood = (features(generate(s, matrix=128)) for s in (replace(spec, bleeds=()), large))
    assert with_blood.hyperdense_ml > without.hyperdense_ml + 20
    assert np.array_equal(with_blood.metadata, without.metadata)
    assert (with_blood.any_bleed, without.any_bleed) == (True, False)
    assert label_mix([with_blood, without])["intraparenchymal"] == 1.0


def test_inside_skull_is_brain() -> None:
    """The region counted is inside the skull: about a brain's volume, without air or bone."""
    phantom = generate(draw(4, bleeds=None, slices=24), matrix=128)
    hu = phantom.hu.numpy()
    inside = inside_skull(hu, phantom.spacing[1])
    assert 700 < inside.sum() * np.prod(phantom.spacing) / 1e3 < 2200
    assert hu[inside].min() > -120


def test_nothing_but_epidurals_measures_no_gate_without_them() -> None:
    """A handful of studies may hold no other: that gate is left out, and nothing breaks."""
    epidural = np.zeros((4, 6), bool)
    epidural[1, :2] = True
    studies = [replace(each, any_bleed=True, slice_labels=epidural) for each in _features(12, 0.0)]
    assert measure(studies) == {}
