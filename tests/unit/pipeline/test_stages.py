"""The stages of a revision, when another model package comes in force between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ich_triage.domain.finding import PackageIdentity
from ich_triage.inference.analyse import Analyser
from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import TorchEngine
from ich_triage.model.package import Package
from ich_triage.outputs.outbox import Outbox
from ich_triage.outputs.report import Device
from ich_triage.pipeline.stages import Stages
from ich_triage.store.database import Database
from tests.heads import tiny_head
from tests.packages import make_package
from tests.service import Json, complete, put, study


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, Package]:
    """Two that answer differently."""
    folder = tmp_path_factory.mktemp("packages")
    first, second = (
        Package.load(make_package(folder / name, name=name, seed=seed)) for seed, name in enumerate("ab")
    )
    return first, second


@dataclass(frozen=True, kw_only=True)
class Site:
    """Stages on a real analyser, with one study."""

    database: Database
    stages: Stages
    analyser: Analyser
    uid: str

    def decide(self, *, between: Package | None = None) -> Json:
        """A new revision over the same images to its end; `between` comes in force after the selection."""
        revision = complete(self.database, self.uid)
        outcome = self.stages.select(revision)
        if between:
            self.analyser.swap(TorchEngine(between))
        if outcome["state"] is None:
            outcome = self.stages.analyse(revision)
        self.stages.store(revision, outcome, self.stages.render(revision, outcome))
        return study(self.database, self.uid)


@pytest.fixture
def site(tmp_path: Path, sqlite: Database, packages: tuple[Package, Package]) -> Iterator[Site]:
    """The first package is in force."""
    datasets = tiny_head(clot=True)
    spool = tmp_path / "spool"
    put(sqlite, spool, datasets)
    batcher = Batcher(TorchEngine(packages[0]))
    analyser = Analyser(batcher)
    stages = Stages(
        database=sqlite,
        spool=spool,
        analyser=analyser,
        outbox=Outbox(spool, ()),
        device=Device(ae_title="ICH_TRIAGE", version="0"),
    )
    uid = str(datasets[0].StudyInstanceUID)
    yield Site(database=sqlite, stages=stages, analyser=analyser, uid=uid)
    batcher.stop()


def _named(told: Json) -> PackageIdentity:
    return PackageIdentity(**told["analysis"]["package"])


def test_a_result_names_the_package_that_ran_not_the_one_at_the_beginning(
    site: Site, packages: tuple[Package, Package]
) -> None:
    """A swap between selection and analysis: name, version and hash are those of the second package."""
    assert _named(site.decide(between=packages[1])) == packages[1].identity


def test_a_later_revision_shares_an_answer_only_of_the_package_in_force(
    site: Site, packages: tuple[Package, Package]
) -> None:
    """After a rollback the same images are asked of the old package anew, though selection had seen it."""
    site.decide(between=packages[1])
    site.analyser.swap(TorchEngine(packages[0]))
    again = site.decide()
    assert again["revisions"][1]["same_as"] is None
    assert _named(again) == packages[0].identity
    shared = site.decide()
    assert shared["revisions"][2]["same_as"] == 2
    assert _named(shared) == packages[0].identity
