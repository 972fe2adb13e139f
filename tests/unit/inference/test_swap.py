"""Another package under load: studies go on, each is answered by one package alone and names it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from ich_triage.domain.finding import Analysis
from ich_triage.errors import EngineError
from ich_triage.imaging.volume import Volume
from ich_triage.inference.analyse import Analyser
from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import TorchEngine
from ich_triage.model.package import Package
from tests.heads import tiny_head, volume_of
from tests.packages import make_package, spoil_golden


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, Package]:
    """Two that answer differently."""
    folder = tmp_path_factory.mktemp("packages")
    first, second = (
        Package.load(make_package(folder / str(seed), name=f"p{seed}", seed=seed)) for seed in range(2)
    )
    return first, second


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """A small head."""
    return volume_of(tiny_head(clot=True), tmp_path_factory.mktemp("head"))


@pytest.fixture
def analyser(packages: tuple[Package, Package]) -> Iterator[Analyser]:
    """On the first of them."""
    batcher = Batcher(TorchEngine(packages[0]), batch=20, wait_s=0.002)
    yield Analyser(batcher)
    batcher.stop()


def test_no_study_is_dropped_or_mixed_while_packages_are_swapped(
    analyser: Analyser, packages: tuple[Package, Package], volume: Volume
) -> None:
    """Studies come without pause from four threads while the package changes there and back again."""
    expected: dict[str, Analysis] = {}
    for package in packages:
        analyser.swap(TorchEngine(package))
        expected[analyser.identity.key] = analyser.analyse(volume).analysis
    one, other = (each.probabilities for each in expected.values())
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 0.05
    enough = Event()

    def submit() -> list[Analysis]:
        found = []
        while not enough.is_set():
            found.append(analyser.analyse(volume).analysis)
        return found

    with ThreadPoolExecutor(4) as pool:
        scanners = [pool.submit(submit) for _ in range(4)]
        try:
            for package in (*packages, packages[0]):
                analyser.swap(TorchEngine(package))
                for _ in range(3):
                    analyser.analyse(volume)
        finally:
            enough.set()
        answers = [answer for scanner in scanners for answer in scanner.result()]
    assert {each.package.key for each in answers} == expected.keys()
    for answer in answers:
        same = expected[answer.package.key]
        assert answer.probabilities == pytest.approx(same.probabilities, abs=1e-4)
        for mine, theirs in zip(answer.slices, same.slices, strict=True):
            assert mine.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)


def test_the_fingerprint_is_that_of_the_package_that_ran(
    analyser: Analyser, packages: tuple[Package, Package], volume: Volume
) -> None:
    """What tells whether a later revision asks the same question goes with the answer, not the moment."""
    before = analyser.analyse(volume)
    assert before.fingerprint == analyser.fingerprint
    analyser.swap(TorchEngine(packages[1]))
    assert before.fingerprint != analyser.fingerprint == analyser.analyse(volume).fingerprint


def test_an_engine_that_fails_its_self_test_is_not_taken(analyser: Analyser, tmp_path: Path) -> None:
    """Nor one whose package lacks the operating point of the configuration: the old one goes on."""
    spoilt = make_package(tmp_path / "spoilt", seed=2)
    spoil_golden(spoilt)
    other_point = make_package(tmp_path / "other", seed=2, points=("lucky",))
    before = analyser.identity
    for folder, words in ((spoilt, "study logits differ"), (other_point, "no operating point 'balanced'")):
        with pytest.raises(EngineError, match=words):
            analyser.swap(TorchEngine(Package.load(folder)))
        assert analyser.identity == before
