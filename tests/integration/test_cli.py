"""The command line as a user types it: what it prints, what it says when it cannot, and its exit status."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from ich_triage.cli import app as cli
from ich_triage.domain.label import PRIORITISATION_ONLY
from ich_triage.domain.roles import Role
from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.forks import Forks
from tests.heads import tiny_head
from tests.hooks import SECRET, HookServer
from tests.mllp import MllpListener
from tests.pacs import Pacs, counting_pacs
from tests.peers import probe_port
from tests.service import Json, all_deliveries, complete, destination, put, study, write_config
from tests.web import add_account

REPOSITORY = Path(__file__).parents[2]
Run = Callable[..., Result]
Typed = Callable[..., subprocess.CompletedProcess[str]]
Wait = Callable[..., None]


@pytest.fixture
def run() -> Run:
    """Runs `ich-triage` in this process."""

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(cli.app, [str(each) for each in arguments])

    return invoke


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """Where reports go."""
    with counting_pacs() as running:
        yield running


class Site:
    """Two studies that were analysed: one flagged, one not."""

    def __init__(self, folder: Path, database: Database, forks: Forks, pacs: Pacs, wait_until: Wait) -> None:
        self.folder, self.database, self.pacs = folder, database, pacs
        self._forks, self._wait = forks, wait_until
        self.config = write_config(
            folder,
            port=probe_port(),
            destinations=[destination("pacs", pacs.peer)],
            delivery={"backoff_s": 0.05, "backoff_max_s": 0.1, "max_attempts": 2, "timeout_s": 5.0},
        )

    def analyse(self, *, clot: bool) -> str:
        """One study through a worker."""
        datasets = tiny_head(clot=clot, name="Doe^Jane")
        uid = str(datasets[0].StudyInstanceUID)
        put(self.database, self.folder / "spool", datasets)
        complete(self.database, uid)
        return uid

    def until_delivered(self, uid: str, state: str = "sent") -> None:
        """With a worker that runs as long as it takes."""
        worker = self._forks.start("worker", self.folder / "worker.log", config=str(self.config))

        def done() -> bool:
            sent = all_deliveries(self.database, uid)
            return bool(sent) and {each["state"] for each in sent} == {state}

        self._wait(done, limit_s=60, what=f"deliveries {state}; see {self.folder}/worker.log")
        worker.end()


@pytest.fixture
def site(tmp_path: Path, sqlite: Database, forks: Forks, pacs: Pacs, wait_until: Wait) -> Site:
    """A site with a PACS and no study yet."""
    return Site(tmp_path, sqlite, forks, pacs, wait_until)


@pytest.fixture
def typed(forks: Forks, tmp_path: Path) -> Typed:
    """The real program in a process of its own; needed where `main` itself is under test."""
    return partial(forks.run, tmp_path)


def _documented(section: str) -> set[str]:
    """The keys of a table in docs/json.md, each with its parent."""
    part = (REPOSITORY / "docs/json.md").read_text().split(f"## {section}")[1].split("\n## ")[0]
    first_cells = (line.split("|")[1] for line in part.splitlines() if line.startswith("| `"))
    return {key for cell in first_cells for key in re.findall(r"`([^`]+)`", cell)}


def test_lists_and_studies_say_what_the_documents_promise(site: Site, run: Run) -> None:
    """Text carries the honest label; JSON has exactly the documented keys, in reading order."""
    quiet, loud = site.analyse(clot=False), site.analyse(clot=True)
    site.until_delivered(quiet)
    site.until_delivered(loud)

    told: Json = json.loads(run("worklist", "--json", "--config", site.config).stdout)
    assert set(told) == {"label", "generated_at", "receivers", "workers", "counts", "studies"}
    assert [row["study_instance_uid"] for row in told["studies"]] == [loud, quiet]
    assert told["counts"] == {"flagged": 1, "not_flagged": 1}
    top = {key.split("[")[0].split(".")[0] for key in _documented("Summary of a study")}
    assert set(told["studies"][0]) == top
    analysis = {
        key.split(".")[1].split("[")[0] for key in _documented("Summary") if key.startswith("analysis.")
    }
    assert set(told["studies"][0]["analysis"]) == analysis

    full: Json = json.loads(run("study", loud, "--json", "--config", site.config).stdout)
    more = {key.split("[")[0].split(".")[0] for key in _documented("A study in full")}
    assert set(full) == top | more | {"label"}
    assert set(full["series"]) == {"chosen", "rejected"}

    assert told["workers"] == 0
    shown = run("worklist", "--config", site.config)
    assert shown.exit_code == 0
    assert "FLAGGED" in shown.stdout and PRIORITISATION_ONLY in shown.stdout
    page = run("study", loud, "--config", site.config).stdout
    for word in ("FLAGGED", "intraparenchymal", "Ledger", "Deliveries", PRIORITISATION_ONLY):
        assert word in page


def test_config_may_stand_before_or_after(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the subcommand, after it, or in the environment: the same list."""
    for arguments in (
        ("--config", site.config, "worklist", "--json"),
        ("worklist", "--json", "--config", site.config),
        ("worklist", "-c", site.config, "--json"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["studies"] == []
    monkeypatch.setenv("ICH_TRIAGE_CONFIG", str(site.config))
    assert run("worklist", "--json").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("study", "1.2.3.4"), "no study 1.2.3.4"),
        (("reprocess", "1.2.3.4"), "no study 1.2.3.4"),
        (("redeliver", "1.2.3.4"), "no study 1.2.3.4"),
    ],
)
def test_an_error_is_one_line_with_status_1(
    site: Site, arguments: tuple[str, ...], words: str, typed: Typed
) -> None:
    """No traceback for what a person can mistype."""
    told = typed(*arguments, "--config", site.config)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert words in told.stderr


@pytest.mark.parametrize(
    "toml",
    [
        "[dicom]\nport = 'x'\n",
        "[dicom]\nprot = 1\n",
        "[dicom\n",
        "[database]\nurl = 'nonsense'\n",
        "[database]\nurl = 'oracle://h/x'\n",
        "[database]\nurl = 'sqlite:////proc/no/such.sqlite'\n",
        "[database]\nurl = 'postgresql+psycopg://nobody@127.0.0.1:1/x'\n",
    ],
)
def test_a_configuration_that_cannot_work_is_one_line(tmp_path: Path, toml: str, typed: Typed) -> None:
    """What is wrong with it, on one line, exit status 1."""
    config = tmp_path / "c.toml"
    config.write_text(toml)
    told = typed("worklist", "--config", config)
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert told.stderr.startswith("ich-triage: ")
    assert told.stderr.count("\n") == 1, told.stderr


def test_a_missing_schema_names_its_remedy(tmp_path: Path, run: Run, typed: Typed) -> None:
    """Lists refuse an empty database; `db upgrade` makes it; `db current` agrees before and after."""
    config = write_config(tmp_path)
    told = typed("worklist", "--config", config)
    assert (told.returncode, "ich-triage db upgrade" in told.stderr) == (1, True)
    assert run("db", "current", "--config", config).exit_code == 1
    assert run("db", "upgrade", "--config", config).exit_code == 0
    assert run("db", "current", "--config", config).exit_code == 0
    assert run("worklist", "--config", config).exit_code == 0


def test_a_study_that_nobody_can_analyse_is_not_waited_for_in_silence(
    site: Site, tmp_path: Path, typed: Typed
) -> None:
    """No model, no worker: the worker's last line, the list and `doctor` each say so."""
    site.analyse(clot=True)
    broken = write_config(site.folder, model={"package": str(tmp_path / "nothing")})
    worker = typed("worker", "--config", broken)
    assert (worker.returncode, "model package" in worker.stderr) == (1, True)
    assert "NO WORKER IS ALIVE" in typed("worklist", "--config", broken).stdout
    told = typed("doctor", "--config", broken, "--no-model", "--json")
    (finding,) = (each for each in json.loads(told.stdout) if each["subject"] == "workers")
    assert (told.returncode, finding["level"]) == (1, "error")


def test_sending_to_a_dead_port_says_so(site: Site, tmp_path: Path, typed: Typed, dead_port: int) -> None:
    """Nobody listens: one line, exit status 1."""
    folder = tmp_path / "scanner"
    folder.mkdir()
    tiny_head(last=1)[0].save_as(folder / "1.dcm", enforce_file_format=True)
    told = typed("send", folder, "--to", f"NOBODY@127.0.0.1:{dead_port}", "--config", site.config)
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith("ich-triage: no connection")
    assert "Traceback" not in told.stderr


def test_sending_nothing_is_refused(site: Site, tmp_path: Path, run: Run, typed: Typed) -> None:
    """A folder without DICOM, and no folder at all."""
    (tmp_path / "empty").mkdir()
    told = typed("send", tmp_path / "empty", "--config", site.config)
    assert told.returncode == 1
    assert "no DICOM files" in told.stderr
    assert run("send", "--config", site.config).exit_code == 2


def test_a_port_in_use_is_one_line(site: Site, typed: Typed) -> None:
    """The receiver says which address it cannot have."""
    with counting_pacs() as other:
        config = write_config(site.folder, port=other.peer.port)
        told = typed("receiver", "--config", config)
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert str(other.peer.port) in told.stderr.splitlines()[-1]


@pytest.mark.risk("R-019")
def test_a_dead_letter_is_seen_and_sent_again(site: Site, run: Run) -> None:
    """The PACS refuses until we give up; doctor names the command; after it the same object arrives."""
    site.pacs.answer = 0xA700
    uid = site.analyse(clot=True)
    site.until_delivered(uid, "dead")
    dead = all_deliveries(site.database, uid)
    assert all("0xA700" in each["last_error"] for each in dead)
    findings = _doctor(run, site.config)
    assert f"ich-triage redeliver {uid}" in findings["deliveries"]["remedy"]

    site.pacs.answer = 0
    assert run("redeliver", uid, "--destination", "elsewhere", "--config", site.config).exit_code == 1
    again = run("redeliver", uid, "--config", site.config)
    assert (again.exit_code, "2 deliveries" in again.stdout) == (0, True)
    site.until_delivered(uid)
    assert set(site.pacs.arrivals) == {each["sop_instance_uid"] for each in dead}
    assert "deliveries" not in _doctor(run, site.config)


def test_reprocess_opens_a_revision(site: Site, run: Run) -> None:
    """The study is in progress again, completed by a person."""
    uid = site.analyse(clot=False)
    site.until_delivered(uid)
    told = run("reprocess", uid, "--config", site.config)
    assert (told.exit_code, "revision 2" in told.stdout) == (0, True)
    now = study(site.database, uid)
    assert now["state"] == "in_progress"
    assert now["revisions"][1]["ledger"]["completed_by"] == "reprocess"


def _doctor(run: Run, config: Path) -> dict[str, Json]:
    """Findings by subject."""
    told = run("doctor", "--no-model", "--json", "--config", config)
    return {each["subject"]: each for each in json.loads(told.stdout)}


def test_doctor_finds_nothing_wrong_with_a_sound_site(site: Site, run: Run) -> None:
    """Every check passes, exit status 0."""
    add_account(site.database, "chief", Role.ADMIN)
    result = run("doctor", "--no-model", "--config", site.config)
    assert result.exit_code == 0, result.stdout
    assert {each["level"] for each in _doctor(run, site.config).values()} == {"ok"}


@pytest.mark.parametrize(
    ("section", "warned"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "0.0.0.0", "plain": False, "tls_certificate": "a.pem", "tls_client_ca": "b.pem"}, False),
    ],
    ids=["open", "here", "by-certificate"],
)
@pytest.mark.risk("R-101")
def test_doctor_says_when_everybody_may_store(tmp_path: Path, run: Run, section: Json, warned: bool) -> None:
    """Without [[peers]], on an address that others reach without a certificate."""
    config = write_config(tmp_path, port=probe_port(), dicom=section)
    assert ("DICOM peers" in _doctor(run, config)) is warned


def test_doctor_names_a_remedy_for_each_error(tmp_path: Path, run: Run, dead_port: int) -> None:
    """Port in other hands, disk below its reserve, old schema, PACS down: each with what to do."""
    with counting_pacs(strict=True) as other:
        config = write_config(
            tmp_path,
            port=other.peer.port,
            spool={"path": str(tmp_path / "spool"), "reserve_bytes": 1 << 60},
            destinations=[
                {"name": "down", "host": "127.0.0.1", "port": dead_port, "ae_title": "PACS"},
            ],
        )
        database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")
        migrate.upgrade(database)
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        database.close()
        result = run("doctor", "--no-model", "--config", config)
        findings = _doctor(run, config)
    assert result.exit_code == 1
    remedies = {
        "DICOM port": "[dicom]",
        "spool": "reserve_bytes",
        "database": "ich-triage db upgrade",
        "destination down": "AE title",
    }
    for subject, words in remedies.items():
        assert findings[subject]["level"] == "error", findings[subject]
        assert words in findings[subject]["remedy"]
        assert words in result.stdout.replace("\n", " ")


def test_doctor_looks_at_every_kind_of_destination(
    tmp_path: Path, run: Run, dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listener and web server answer and are told nothing; without secret, or with nobody there, a remedy."""
    for name in ("DESK", "GONE"):
        monkeypatch.setenv(f"ICH_TRIAGE_WEBHOOK_SECRET_{name}", SECRET)
    listener, hooks = MllpListener(), HookServer()
    with listener.serve(), hooks.serve():
        where = {"kind": "mllp", "host": "127.0.0.1"}
        destinations = [
            {"name": "his", "port": listener.port, **where},
            {"name": "down", "port": dead_port, **where},
            {"name": "bare", "port": listener.port, "tls": True, **where},
            {"kind": "webhook", "name": "desk", "url": hooks.url},
            {"kind": "webhook", "name": "mute", "url": hooks.url},
            {"kind": "webhook", "name": "gone", "url": "https://nowhere.invalid/hook"},
        ]
        config = write_config(tmp_path, destinations=destinations, delivery={"timeout_s": 1.0})
        found = _doctor(run, config)
    assert listener.heard == [] and hooks.paths == []
    sound = {name: found[f"destination {name}"]["level"] == "ok" for name in ("his", "desk")}
    assert sound == {"his": True, "desk": True}
    assert "ICH_TRIAGE_WEBHOOK_SECRET_MUTE" in found["destination mute"]["seen"]
    for name in ("down", "bare", "gone"):
        assert "no connection to" in found[f"destination {name}"]["seen"]
    for name in ("down", "bare", "gone", "mute"):
        assert found[f"destination {name}"]["level"] == "error"
        assert found[f"destination {name}"]["remedy"]


def test_doctor_distrusts_a_broken_package(tmp_path: Path, run: Run) -> None:
    """A model folder without a model is an error with a remedy, not a traceback."""
    (tmp_path / "package").mkdir()
    config = write_config(tmp_path, model={"package": str(tmp_path / "package")})
    told = run("doctor", "--json", "--config", config)
    (finding,) = [each for each in json.loads(told.stdout) if each["subject"] == "model"]
    assert (told.exit_code, finding["level"]) == (1, "error")
    assert "[model] package" in finding["remedy"]
