"""A volume in, an analysis out, on phantoms and on a real head with bleeds put into it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from ich_triage.domain.finding import Analysis, Side
from ich_triage.domain.labels import Subtype
from ich_triage.errors import EngineError
from ich_triage.imaging.header import read_study
from ich_triage.imaging.prepare import Prepared, prepare
from ich_triage.imaging.stacks import split
from ich_triage.imaging.volume import Volume, assemble
from ich_triage.inference.analyse import Analyser
from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import Floats, SliceOutput, StudyOutput
from ich_triage.phantom.generate import generate
from ich_triage.phantom.insert import InsertedBleed, insert_bleed
from ich_triage.phantom.spec import draw
from tests.conftest import REAL_HEAD
from train.drawn import to_volume

#: bleeds put into the real head, where
PUT_IN = (
    (Subtype.EPIDURAL, Side.LEFT),
    (Subtype.INTRAPARENCHYMAL, Side.RIGHT),
    (Subtype.INTRAVENTRICULAR, Side.LEFT),
    (Subtype.SUBARACHNOID, Side.RIGHT),
    (Subtype.SUBDURAL, Side.LEFT),
)
needs_real_head = pytest.mark.skipif(not REAL_HEAD.is_dir(), reason="the real head is not here")


@pytest.fixture(scope="module")
def trained(batcher: Batcher) -> Analyser:
    """An analyser of a trained package: one without measured figures has nothing to be held to."""
    if not batcher.engine.package.manifest.metrics:
        pytest.skip("the embedded package is untrained: its manifest has no metrics")
    return Analyser(batcher)


@pytest.fixture(scope="module")
def bleeding() -> Volume:
    """A phantom with a large bleed within the brain."""
    return to_volume(generate(draw(7, bleeds=(Subtype.INTRAPARENCHYMAL,), slices=24), matrix=128))


def _read(paths: list[Path]) -> Volume:
    headers, _ = read_study(paths)
    (series,) = split(headers)
    return assemble(series)


def test_analysis_is_complete_and_consistent(batcher: Batcher, bleeding: Volume) -> None:
    """Every slice is scored in order, `flagged` follows from the threshold, masks fit the volume."""
    result = Analyser(batcher).analyse(bleeding)
    analysis = result.analysis
    assert [score.image for score in analysis.slices] == list(bleeding.images)
    assert result.masks.shape == (5, *bleeding.hu.shape)
    assert analysis.flagged == (analysis.probabilities[0] >= analysis.threshold)
    assert analysis.probabilities[0] == max(analysis.probabilities)
    assert bool(analysis.findings) == analysis.flagged
    assert analysis.package == batcher.engine.package.identity


@pytest.mark.risk("R-017")
def test_an_answer_that_is_no_number_is_an_error(
    batcher: Batcher, bleeding: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN, as half precision can overflow to, is below every threshold: it must not be "not flagged"."""
    study = batcher.engine.study

    def overflown(embedding: Floats, height: Floats) -> StudyOutput:
        return replace(study(embedding, height), study_logits=np.full(6, np.nan, np.float32))

    monkeypatch.setattr(batcher.engine, "study", overflown)
    with pytest.raises(EngineError, match="not a number"):
        Analyser(batcher).analyse(bleeding)


@pytest.mark.risk("R-017")
def test_a_mask_that_is_no_number_is_an_error(
    batcher: Batcher, bleeding: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Volumes are sums over the whole mask: one NaN in it and there is none."""
    slices = batcher.engine.slices

    def overflown(images: torch.Tensor) -> SliceOutput:
        output = slices(images)
        output.mask_logits[0, 0, 0, 0] = np.nan
        return output

    monkeypatch.setattr(batcher.engine, "slices", overflown)
    with pytest.raises(EngineError, match="not a number"):
        Analyser(batcher).analyse(bleeding)


def test_threads_get_the_same_answer_as_one_alone(batcher: Batcher, bleeding: Volume) -> None:
    """Concurrent callers do not disturb each other."""
    analyser = Analyser(batcher)
    alone = analyser.analyse(bleeding).analysis
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda _: analyser.analyse(bleeding).analysis, range(3)))
    for each in together:
        assert each.flagged == alone.flagged
        np.testing.assert_allclose(each.probabilities, alone.probabilities, atol=1e-4)


def test_site_prevalence_moves_probabilities_and_keeps_the_decision(
    batcher: Batcher, bleeding: Volume
) -> None:
    """A site with few bleeds sees lower probabilities, yet the frozen operating point decides alike."""
    usual = Analyser(batcher).analyse(bleeding).analysis
    rare = Analyser(batcher, prevalence=0.027).analyse(bleeding).analysis
    assert rare.probabilities[0] < usual.probabilities[0]
    assert rare.threshold < usual.threshold
    assert rare.flagged == usual.flagged
    assert [each.subtype for each in rare.findings] == [each.subtype for each in usual.findings]
    assert usual.findings


def test_whatever_decides_is_in_the_fingerprint(batcher: Batcher) -> None:
    """Another operating point or prevalence may give the same images another answer."""
    deciders = (
        Analyser(batcher),
        Analyser(batcher, operating_point="high_sensitivity"),
        Analyser(batcher, prevalence=0.027),
    )
    assert len({each.fingerprint for each in deciders}) == len(deciders)
    assert Analyser(batcher).fingerprint == deciders[0].fingerprint


def test_a_study_too_large_for_the_device_is_prepared_on_the_cpu(
    batcher: Batcher, bleeding: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory in preparation costs time, not the study."""
    calls: list[torch.device] = []

    def scarce(hu: torch.Tensor, *rest: object) -> Prepared:
        calls.append(hu.device)
        if len(calls) == 1:
            raise torch.OutOfMemoryError
        return prepare(hu, *rest)  # type: ignore[arg-type]

    expected = Analyser(batcher).analyse(bleeding).analysis.probabilities
    monkeypatch.setattr("ich_triage.inference.analyse.prepare", scarce)
    assert Analyser(batcher).analyse(bleeding).analysis.probabilities == pytest.approx(expected, abs=1e-4)
    assert len(calls) == 2


def test_unknown_operating_point_names_the_known(batcher: Batcher) -> None:
    """A wrong setting is found before the first study, and the error lists what there is."""
    with pytest.raises(EngineError, match="balanced, high_sensitivity"):
        Analyser(batcher, operating_point="lucky")


def test_self_test_runs_through_the_batcher(batcher: Batcher) -> None:
    """The worker's start-up check asks the very path that studies take."""
    Analyser(batcher).self_test()


@needs_real_head
def test_real_head_as_it_came_is_not_flagged(trained: Analyser) -> None:
    """Real anatomy without a bleed stays below the balanced operating point."""
    volume = _read(sorted(REAL_HEAD.glob("*.dcm")))
    assert not trained.analyse(volume).analysis.flagged


@pytest.fixture(scope="module")
def with_bleed(
    request: pytest.FixtureRequest, trained: Analyser, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Analysis, InsertedBleed]:
    """The analysis of the real head with 10 mL of blood put in, and what was."""
    subtype, side = request.param
    datasets = [pydicom.dcmread(path) for path in sorted(REAL_HEAD.glob("*.dcm"))]
    changed, truth = insert_bleed(datasets, subtype, 10.0, seed=0, side=side)
    folder = tmp_path_factory.mktemp("bleed")
    paths = [folder / f"{number}.dcm" for number in range(len(changed))]
    for ds, path in zip(changed, paths, strict=True):
        ds.save_as(path)
    return trained.analyse(_read(paths)).analysis, truth


@needs_real_head
@pytest.mark.parametrize("with_bleed", PUT_IN, indirect=True, ids=lambda put_in: "-".join(put_in))
def test_bleed_put_into_the_real_head_is_found(with_bleed: tuple[Analysis, InsertedBleed]) -> None:
    """10 mL of blood are flagged and named, on their side and with the key slice within them."""
    analysis, truth = with_bleed
    assert analysis.flagged
    (found,) = [each for each in analysis.findings if each.subtype == truth.subtype]
    assert found.side in {truth.side, Side.BILATERAL}
    assert truth.slice_ml[found.key_slice] > 0


@needs_real_head
@pytest.mark.parametrize("with_bleed", PUT_IN, indirect=True, ids=lambda put_in: "-".join(put_in))
def test_the_likeliest_finding_in_the_real_head_lies_at_the_bleed(
    with_bleed: tuple[Analysis, InsertedBleed],
) -> None:
    """Whatever it is called first, who opens its key slice sees the blood."""
    analysis, truth = with_bleed
    first = analysis.findings[0]
    assert first.side in {truth.side, Side.BILATERAL}
    assert truth.slice_ml[first.key_slice] > 0
