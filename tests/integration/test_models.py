"""`ich-triage models` as it is typed, and a real worker that takes what is put in force under load."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from ich_triage.cli import app as cli
from ich_triage.domain.label import SYNTHETIC
from ich_triage.domain.states import FINAL_STATES
from ich_triage.inference.analyse import Analyser
from ich_triage.inference.batcher import Batcher
from ich_triage.inference.engine import TorchEngine
from ich_triage.model.package import Package
from ich_triage.pipeline.models import Models
from ich_triage.settings import load
from ich_triage.store.database import Database
from ich_triage.store.tables import Worker
from tests.forks import Forks
from tests.heads import tiny_head, volume_of
from tests.packages import good_figures, make_package, metric, spoil_golden
from tests.service import Json, complete, put, study, write_config

REPOSITORY = Path(__file__).parents[2]
Wait = Callable[..., None]
LIMIT_S = 240.0
#: studies that wait for the worker
WAITING = 3


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Package folders by name; only `real` is not synthetic, `spoilt` does not give its golden answer."""
    folder = tmp_path_factory.mktemp("sources")
    worse = good_figures(0.9, study_auc_subdural=metric(0.7))
    made = {
        "a": make_package(folder / "a", name="a", seed=0),
        "b": make_package(folder / "b", name="b", seed=1),
        "worse": make_package(folder / "worse", name="worse", seed=2, metrics=worse),
        "real": make_package(folder / "real", name="real", seed=3, synthetic=False),
        "spoilt": make_package(folder / "spoilt", name="spoilt", seed=4),
    }
    spoil_golden(made["spoilt"])
    return made


@dataclass(frozen=True, kw_only=True)
class Site:
    """A configuration with a registry of its own."""

    folder: Path
    config: Path
    database: Database
    sources: dict[str, Path]

    def run(self, *arguments: object, config: Path | None = None) -> Result:
        """`ich-triage models …` in this process."""
        command = ["models", *map(str, arguments), "--config", str(config or self.config)]
        return CliRunner().invoke(cli.app, command)

    def json(self, *arguments: object, config: Path | None = None) -> Json:
        """Its JSON; the command must succeed."""
        result = self.run(*arguments, "--json", config=config)
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout))

    def publish(self, *names: str) -> list[str]:
        """Into the registry; returns the names there."""
        return [self.json("publish", self.sources[name])["name"] for name in names]

    def doctor(self, *flags: str) -> dict[str, Json]:
        """Findings by subject."""
        command = ["doctor", *flags, "--json", "--config", str(self.config)]
        return {each["subject"]: each for each in json.loads(CliRunner().invoke(cli.app, command).stdout)}


@pytest.fixture
def site(tmp_path: Path, sqlite: Database, sources: dict[str, Path]) -> Site:
    """Nothing published yet."""
    model = {"registry": str(tmp_path / "registry"), "device": "cpu", "threads": 1}
    config = write_config(tmp_path, model=model)
    return Site(folder=tmp_path, config=config, database=sqlite, sources=sources)


def _documented(section: str) -> set[str]:
    """First-level keys of a table in docs/json.md."""
    part = (REPOSITORY / "docs/json.md").read_text().split(f"## {section}")[1].split("\n## ")[0]
    first_cells = (line.split("|")[1] for line in part.splitlines() if line.startswith("| `"))
    keys = (key for cell in first_cells for key in re.findall(r"`([^`]+)`", cell))
    return {re.split(r"[.\[]", key)[0] for key in keys}


def test_from_a_folder_to_promoted_and_back(site: Site) -> None:
    """Publish, list, force past other test data, promote past the gate, roll back twice: as documented."""
    assert site.json("list")["in_force"] == "embedded"
    a, b = site.publish("a", "b")
    refused = site.run("promote", a)
    assert refused.exit_code == 1
    told = " ".join(refused.stdout.split())
    assert "not comparable" in told and "--force REASON" in told
    forced = site.json("promote", a, "--force", "first package of this site")
    assert (forced["promoted"], forced["replaces"]) == (True, "embedded")
    assert forced.keys() == _documented("Promotion of a model package")
    promoted = site.run("promote", "b-1")
    assert promoted.exit_code == 0, promoted.output
    assert "✓  study_auc_any" in promoted.stdout and SYNTHETIC in promoted.stdout
    told = site.json("list")
    assert told.keys() == _documented("Model packages")
    assert [row["name"] for row in told["packages"] if row["in_force"]] == [told["in_force"]] == [b]
    assert [(each["package"], each["forced"]) for each in told["history"]] == [
        (a, "first package of this site"),
        (b, None),
    ]
    shown = site.run("list").stdout
    assert f"▶ in force: {b}" in shown and "first package of this site" in shown
    assert site.json("rollback") == {"package": a, "replaces": b}
    assert site.json("list")["in_force"] == a
    assert site.json("rollback") == {"package": "embedded", "replaces": a}
    assert site.run("rollback").exit_code == 1


def test_the_gate_refuses_and_says_what_may_be_overruled(site: Site) -> None:
    """Worse: by force only. Wrong golden answer, synthetic for real: never; nothing is written."""
    site.publish("a", "b", "worse", "real", "spoilt")
    assert site.run("promote", "a-", "--force", "the first").exit_code == 0
    assert site.run("promote", "spoilt", "--force", "we want it").exit_code == 1
    worse = site.run("promote", "worse")
    assert worse.exit_code == 1
    assert (
        "✗  study_auc_subdural" in worse.stdout and "0.700 (0.680 to 0.720), in force 0.900" in worse.stdout
    )
    assert site.run("promote", "worse", "--force", "better where it counts").exit_code == 0
    assert site.run("promote", "real").exit_code == 0
    synthetic = site.run("promote", "b-", "--force", "we want it")
    assert synthetic.exit_code == 1
    assert "was trained on real data" in synthetic.stdout and "--force" not in synthetic.stdout
    assert [each["package"].split("-")[0] for each in site.json("list")["history"]] == ["a", "worse", "real"]
    again = site.run("promote", "real")
    assert "in force already" in str(again.exception)
    assert "publish" in str(site.run("promote", "embedded").exception)


def test_two_packages_side_by_side(site: Site) -> None:
    """Each figure with its interval; the one that ships too, whose other test data are named."""
    a, worse = site.publish("a", "worse")
    told = site.json("compare", a, worse)
    assert told.keys() == _documented("Comparison of two model packages")
    assert told["packages"] == [a, worse]
    assert told["incomparable"] is None
    assert [each["value"] for each in told["metrics"]["study_auc_subdural"]] == [0.9, 0.7]
    shown = site.run("compare", a, "embedded").stdout
    assert "0.900 (0.880 to 0.920)" in shown and "not measured" in shown and "not comparable" in shown


def test_a_package_is_shown_with_its_card_and_manifest(site: Site) -> None:
    """Of the one in force without a name, of any other by its name."""
    (a,) = site.publish("a")
    assert site.json("show")["name"] == "embedded"
    assert site.json("show", a)["name"] == "a"
    assert site.run("show", a, "--card").stdout == "card of a 1\n\n"
    assert "operating point balanced" in site.run("show").stdout
    assert SYNTHETIC in site.run("show").stdout


def test_a_pinned_package_overrules_the_registry_and_says_so(site: Site) -> None:
    """In the list, at a promotion, in `doctor`."""
    (a,) = site.publish("a")
    pinned = {"package": str(site.sources["b"]), "registry": str(site.folder / "registry"), "device": "cpu"}
    config = write_config(site.folder, model=pinned)
    promoted = site.run("promote", a, "--force", "the first", config=config)
    assert "overrules the registry" in promoted.stdout.replace("\n", " ")
    told = site.json("list", config=config)
    assert told["pinned"] == told["in_force"] == str(site.sources["b"])
    assert site.json("show", config=config)["name"] == "b"
    finding = site.doctor()["registry"]
    assert (finding["level"], "overrules" in finding["seen"]) == ("warning", True)


def test_doctor_knows_the_registry(site: Site) -> None:
    """Published and forgotten; in force; in force and gone: each with its remedy."""
    (a,) = site.publish("a")
    forgotten = site.doctor()["registry"]
    assert (forgotten["level"], "models promote" in forgotten["remedy"]) == ("warning", True)
    assert site.run("promote", a, "--force", "the first").exit_code == 0
    found = site.doctor()
    assert found["registry"]["level"] == "ok" and a in found["registry"]["seen"]
    assert found["model"]["seen"].startswith("a 1 (")
    shutil.rmtree(site.folder / "registry" / "packages" / a)
    gone = site.doctor()["model"]
    assert (gone["level"], "models rollback" in gone["remedy"]) == ("error", True)
    assert a in gone["seen"]


@contextmanager
def _worker(site: Site, forks: Forks, wait_until: Wait) -> Iterator[Path]:
    """`ich-triage worker` as its user types it; yields its log."""
    fork = forks.type(site.folder, "worker", "--config", site.config)
    wait_until(lambda: "worker_started" in fork.log.read_text(), limit_s=LIMIT_S, what="the worker")
    yield fork.log
    fork.end()


class Scanner:
    """Sends small heads until it is left: some always wait for the worker, and never more than those."""

    def __init__(self, site: Site) -> None:
        self.sent: list[str] = []
        self._site = site
        self._enough = Event()
        self._thread = Thread(target=self._scan)

    def __enter__(self) -> Scanner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _scan(self) -> None:
        while not self._enough.wait(0.1):
            if sum(not self.is_answered(uid) for uid in self.sent[-WAITING:]) == WAITING:
                continue
            datasets = tiny_head(clot=True)
            put(self._site.database, self._site.folder / "spool", datasets)
            uid = str(datasets[0].StudyInstanceUID)
            complete(self._site.database, uid)
            self.sent.append(uid)

    def is_answered(self, uid: str) -> bool:
        """Whether the study is final."""
        return study(self._site.database, uid)["state"] in FINAL_STATES

    def answered_by(self, name: str) -> int:
        """How many studies name this package."""
        told = [study(self._site.database, uid)["analysis"] for uid in self.sent]
        return sum(each is not None and each["package"]["name"] == name for each in told)


def _workers(site: Site) -> set[tuple[str | None, bool]]:
    """What the workers say they run, and whether they have a problem with what is in force."""
    with site.database.read() as session:
        found = session.scalars(select(Worker)).all()
        return {(each.package, each.package_problem is not None) for each in found}


def _answers(site: Site) -> dict[str, tuple[float, ...]]:
    """By each package, the probabilities that it gives for the head that is sent."""
    folder = site.folder / "head"
    folder.mkdir()
    volume = volume_of(tiny_head(clot=True), folder)
    found = {}
    for name in ("a", "b"):
        batcher = Batcher(TorchEngine(Package.load(site.sources[name])))
        found[name] = Analyser(batcher).analyse(volume).analysis.probabilities
        batcher.stop()
    return found


@pytest.mark.timeout(600)
def test_a_running_worker_swaps_twice_and_drops_no_study(site: Site, forks: Forks, wait_until: Wait) -> None:
    """Promoted and rolled back under load: every study is answered, by the package that it names."""
    a, b = site.publish("a", "b")
    assert site.run("promote", a, "--force", "the first").exit_code == 0
    expected = _answers(site)
    with _worker(site, forks, wait_until) as told:
        with Scanner(site) as scanner:
            for name, command in ((a, None), (b, ("promote", b)), (a, ("rollback",))):
                before = scanner.answered_by(name[0])
                if command:
                    assert site.run(*command).exit_code == 0
                wait_until(
                    lambda name=name, before=before: (
                        _workers(site) == {(name, False)} and scanner.answered_by(name[0]) > before + 2
                    ),
                    limit_s=LIMIT_S,
                    what=f"{name}; see {told}",
                )
        wait_until(
            lambda: all(map(scanner.is_answered, scanner.sent)),
            limit_s=LIMIT_S,
            what="the last studies",
        )
    for uid in scanner.sent:
        told = study(site.database, uid)
        assert (told["state"], told["revision"]) == ("not_flagged", 1)
        package = told["analysis"]["package"]
        assert (
            package["weights_sha256"] == Package.load(site.sources[package["name"]]).identity.weights_sha256
        )
        probabilities = tuple(told["analysis"]["probabilities"].values())
        assert probabilities == pytest.approx(expected[package["name"]], abs=1e-3)
    assert scanner.answered_by("a") + scanner.answered_by("b") == len(scanner.sent)


@pytest.mark.timeout(600)
def test_a_running_worker_does_not_take_what_it_cannot_run(
    site: Site, forks: Forks, wait_until: Wait
) -> None:
    """Passed on another machine, the self-test fails on this one: the worker goes on, and `doctor` tells."""
    a, spoilt = site.publish("a", "spoilt")
    assert site.run("promote", a, "--force", "the first").exit_code == 0
    known = Models(load(site.config).model, site.database)
    with _worker(site, forks, wait_until) as told, Scanner(site) as scanner:
        known.promote(known.registry.get(spoilt), (), after=1, forced=None)
        wait_until(lambda: _workers(site) == {(a, True)}, limit_s=LIMIT_S, what="the worker's refusal")
        before = scanner.answered_by("a")
        wait_until(lambda: scanner.answered_by("a") > before + 2, limit_s=LIMIT_S, what="more studies")
        finding = site.doctor("--no-model")["workers"]
        assert (finding["level"], "models rollback" in finding["remedy"]) == ("error", True)
        assert a in finding["seen"] and "self-test" in finding["seen"]
        assert site.run("rollback").exit_code == 0
        wait_until(lambda: _workers(site) == {(a, False)}, limit_s=LIMIT_S, what="the rollback")
    assert scanner.answered_by("spoilt") == 0
    assert "package_refused" in told.read_text()
