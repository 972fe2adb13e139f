"""Which package is in force, and what a worker does with one that it cannot use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ich_triage.errors import PackageError, PromotionError
from ich_triage.inference.analyse import Analyser
from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import TorchEngine
from ich_triage.model.gate import Check
from ich_triage.model.package import WEIGHTS, Package
from ich_triage.model.registry import SHIPPED, PackageFolder
from ich_triage.pipeline import models
from ich_triage.pipeline.models import Models, ModelWatch, first_that_runs
from ich_triage.settings import Model
from ich_triage.store.database import Database
from tests.packages import make_package, spoil_golden

PASSED = (Check(name="package", passed=True, reason="whole"),)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages to publish: two synthetic ones, a real one, one that is whole but answers wrongly."""
    folder = tmp_path_factory.mktemp("packages")
    made = {
        name: make_package(folder / name, name=name, seed=seed, synthetic=name != "real")
        for seed, name in enumerate(("a", "b", "real", "spoilt"))
    }
    spoil_golden(made["spoilt"])
    return made


@dataclass(frozen=True, kw_only=True)
class Site:
    """A registry and its database."""

    known: Models
    sources: dict[str, Path]
    folder: Path
    database: Database

    def promote(self, *names: str) -> list[PackageFolder]:
        """Publish and promote; what the gate says is not the question here."""
        published = [self.known.registry.publish(self.sources[name]) for name in names]
        for each in published:
            self.known.promote(each, PASSED, after=self.known.promoted().number, forced=None)
        return published


@pytest.fixture
def site(tmp_path: Path, sqlite: Database, sources: dict[str, Path]) -> Site:
    """Nothing published yet."""
    known = Models(Model(registry=tmp_path / "registry"), sqlite)
    return Site(known=known, sources=sources, folder=tmp_path, database=sqlite)


@pytest.fixture
def batchers() -> Iterator[list[Batcher]]:
    """Batchers to be stopped."""
    started: list[Batcher] = []
    yield started
    for each in started:
        each.stop()


def _start(package: Package, batchers: list[Batcher]) -> Analyser:
    batchers.append(Batcher(TorchEngine(package)))
    ready = Analyser(batchers[-1])
    ready.self_test()
    return ready


def test_the_package_that_ships_is_in_force_until_another_is_promoted(site: Site) -> None:
    """Publishing alone changes nothing; a rollback of the first promotion brings it back."""
    site.known.registry.publish(site.sources["a"])
    assert [each.name for each in site.known.in_force().packages] == [SHIPPED]
    (a,) = site.promote("a")
    assert site.known.in_force().package == a
    left, again = site.known.roll_back()
    assert (left, again.name) == (a, SHIPPED) == (a, site.known.in_force().package.name)
    with pytest.raises(PromotionError, match="nothing to roll back"):
        site.known.roll_back()


def test_the_configuration_overrules_the_registry(site: Site) -> None:
    """A pinned package is in force whatever is promoted; the history goes on beneath."""
    pinned = Models(Model(registry=site.folder / "registry", package=site.sources["b"]), site.database)
    (a,) = site.promote("a")
    assert pinned.in_force().packages == (pinned.pinned,)
    assert pinned.in_force().package.load().manifest.name == "b"
    assert pinned.promoted().package == a


def test_a_rollback_to_what_is_gone_is_refused(site: Site) -> None:
    """Nothing is written: the package in force stays so."""
    a, b = site.promote("a", "b")
    shutil.rmtree(a.path)
    with pytest.raises(PackageError, match=a.name):
        site.known.roll_back()
    assert site.known.in_force().package == b


def test_a_worker_starts_on_the_one_before_where_the_one_in_force_fails(
    site: Site, batchers: list[Batcher]
) -> None:
    """It says which fails and why; a sound one is started without a word."""
    site.promote("a", "spoilt")
    found = site.known.in_force().packages
    analyser, problem = first_that_runs(found, lambda package: _start(package, batchers))
    assert analyser.identity.name == "a"
    assert "study logits differ" in str(problem)
    assert first_that_runs(found[1:], lambda package: _start(package, batchers))[1] is None


@pytest.mark.risk("R-012")
def test_a_synthetic_package_never_stands_in_for_a_real_one(site: Site, batchers: list[Batcher]) -> None:
    """Rather no worker, which the list shows, than an answer of another kind."""
    _, real = site.promote("a", "real")
    shutil.rmtree(real.path)
    with pytest.raises(PackageError, match="real-1"):
        first_that_runs(site.known.in_force().packages, lambda package: _start(package, batchers))


def _watch(site: Site, batchers: list[Batcher]) -> ModelWatch:
    begun = site.known.in_force()
    analyser, problem = first_that_runs(begun.packages, lambda package: _start(package, batchers))
    return ModelWatch(site.known, analyser, TorchEngine, seen=begun.number, problem=problem)


def test_a_watch_takes_what_is_promoted_and_what_is_rolled_back(site: Site, batchers: list[Batcher]) -> None:
    """A look without news loads nothing; with news it ends with the package in force running."""
    a, b = site.promote("a", "b")
    watch = _watch(site, batchers)
    assert watch.running == b.name
    site.known.roll_back()
    watch.look()
    assert (watch.running, watch.problem) == (a.name, None)
    shutil.rmtree(a.path)
    watch.look()
    assert (watch.running, watch.problem) == (a.name, None)


def test_a_watch_does_not_take_what_fails_and_says_why(
    site: Site, batchers: list[Batcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Self-test, altered weights: the old package goes on. Once mended it is taken, not before its time."""
    (a,) = site.promote("a")
    watch = _watch(site, batchers)
    site.promote("spoilt")
    watch.look()
    assert watch.running == a.name
    assert "study logits differ" in str(watch.problem)
    (b,) = site.promote("b")
    weights = (b.path / WEIGHTS).read_bytes()
    (b.path / WEIGHTS).chmod(0o644)
    (b.path / WEIGHTS).write_bytes(b"others")
    watch.look()
    assert watch.running == a.name
    assert "SHA-256" in str(watch.problem)
    (b.path / WEIGHTS).write_bytes(weights)
    watch.look()
    assert watch.running == a.name
    monkeypatch.setattr(models, "monotonic", lambda: models.RETRY_S * 1e9)
    watch.look()
    assert (watch.running, watch.problem) == (b.name, None)


def test_a_library_that_breaks_on_a_new_package_costs_nothing(site: Site, batchers: list[Batcher]) -> None:
    """Whatever it raises, the old package goes on; the reason is told without the library's words."""
    (a,) = site.promote("a")
    begun = site.known.in_force()
    analyser, _ = first_that_runs(begun.packages, lambda package: _start(package, batchers))

    def breaks(_package: Package) -> TorchEngine:
        raise MemoryError("at 0x7f")

    watch = ModelWatch(site.known, analyser, breaks, seen=begun.number)
    (b,) = site.promote("b")
    watch.look()
    assert watch.running == a.name
    assert watch.problem == f"{b.name} cannot be loaded (MemoryError)"
