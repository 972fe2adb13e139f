"""The stages of a revision: another model package, or newer slices, come between two of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from ich_triage.domain.finding import PackageIdentity
from ich_triage.domain.states import ReasonCode
from ich_triage.inference.analyse import Analyser
from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import TorchEngine
from ich_triage.model.package import Package
from ich_triage.outputs.outbox import Outbox
from ich_triage.outputs.report import Device
from ich_triage.pipeline.stages import Stages, failed
from ich_triage.settings import WebhookDestination
from ich_triage.storage.folder import Folder
from ich_triage.store import summary, worklist
from ich_triage.store.database import Database
from tests.analyser import ThresholdAnalyser
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
        spool=Folder(spool),
        analyser=analyser,
        outbox=Outbox(Folder(spool), ()),
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


def test_what_lists_show_is_stored_with_the_answer(site: Site) -> None:
    """Without it each look at the list would read every slice."""
    site.decide()
    with site.database.read() as session:
        revision = worklist.one(session, site.uid).decided
        assert revision is not None
        assert revision.analysis is not None
        assert revision.summary == summary.make(revision.analysis)


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


class Desk:
    """Stages on a plain analyser, and one receiver who is told of every study."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.spool = database, folder / "spool"
        desk = WebhookDestination(
            kind="webhook", name="desk", url="http://127.0.0.1/", secret_file=folder / "secret", send="all"
        )
        self.stages = Stages(
            database=database,
            spool=Folder(self.spool),
            analyser=ThresholdAnalyser(),  # type: ignore[arg-type]
            outbox=Outbox(Folder(self.spool), (desk,)),
            device=Device(ae_title="ICH_TRIAGE", version="0"),
        )

    def decide(
        self, uid: str, *, late: Sequence[Dataset] = (), outcome: Json | None = None
    ) -> tuple[Json, list[Json]]:
        """A revision to its end, `late` slices coming meanwhile; the study, and what the receiver is told."""
        revision = complete(self.database, uid)
        outcome = outcome or self.stages.select(revision)
        if outcome["state"] is None:
            outcome = self.stages.analyse(revision)
        planned = self.stages.render(revision, outcome)
        put(self.database, self.spool, late)
        self.stages.store(revision, outcome, planned)
        told = study(self.database, uid)
        bodies = [json.loads((self.spool / each["path"]).read_bytes())["data"] for each in planned]
        return told, bodies if told["revisions"][-1]["deliveries"] else []


@pytest.fixture
def desk(tmp_path: Path, sqlite: Database) -> Desk:
    """Nothing received yet."""
    return Desk(sqlite, tmp_path)


def _bone(uid: str) -> list[Dataset]:
    """A series that opens a revision and is not analysed."""
    datasets = tiny_head(study=uid)
    for ds in datasets:
        ds.ConvolutionKernel, ds.SeriesDescription = "BONE", "HEAD BONE"
    return datasets


def _better(uid: str) -> list[Dataset]:
    """A series without a clot that is preferred to those before it."""
    datasets = tiny_head(study=uid)
    for ds in datasets:
        ds.SliceThickness, ds.AcquisitionNumber = 5, 2
    return datasets


@pytest.mark.risk("R-007")
def test_not_flagged_is_told_to_nobody_while_newer_slices_wait(desk: Desk) -> None:
    """The list goes on receiving, nobody hears "not flagged", and the next revision says so for itself."""
    head = tiny_head()
    uid = str(head[0].StudyInstanceUID)
    put(desk.database, desk.spool, head)
    told, heard = desk.decide(uid, late=_bone(uid))
    assert (told["state"], heard) == ("receiving", [])
    told, heard = desk.decide(uid)
    assert (told["state"], told["revisions"][1]["same_as"]) == ("not_flagged", None)
    assert [(each["state"], each["revision"]) for each in heard] == [("not_flagged", 2)]


def test_a_flag_that_the_list_keeps_is_kept_in_every_report(desk: Desk) -> None:
    """Nobody hears of a look that newer slices overtook; a failed one after it leaves the flag standing."""
    head = tiny_head(clot=True)
    uid = str(head[0].StudyInstanceUID)
    put(desk.database, desk.spool, head)
    assert desk.decide(uid)[1][0]["state"] == "flagged"
    put(desk.database, desk.spool, _better(uid))
    told, heard = desk.decide(uid, late=_bone(uid))
    assert (told["state"], heard) == ("flagged", [])
    told, heard = desk.decide(uid, outcome=failed(ReasonCode.ANALYSIS_ERROR, "broke off"))
    assert told["state"] == "flagged"
    assert [(each["earlier_flag_stands"], each["priority"]) for each in heard] == [(True, 2)]


def test_a_flag_is_told_at_once_though_newer_slices_wait(desk: Desk) -> None:
    """A suspected bleed waits for nothing."""
    head = tiny_head(clot=True)
    uid = str(head[0].StudyInstanceUID)
    put(desk.database, desk.spool, head)
    told, heard = desk.decide(uid, late=_bone(uid))
    assert (told["state"], [each["state"] for each in heard]) == ("flagged", ["flagged"])
