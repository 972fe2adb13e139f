"""Retention, erasure, export and backup as an admin runs them: the commands, a real worker, a real queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from ich_triage.cli import app as cli
from ich_triage.pipeline import queue
from ich_triage.store.account_tables import Audit
from ich_triage.store.database import Database
from tests.forks import Forks
from tests.heads import SLICES, tiny_head
from tests.keeping import age, files
from tests.pacs import Pacs, counting_pacs
from tests.service import all_deliveries, complete, destination, put, study, write_config

Wait = Callable[..., None]


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """Where reports go."""
    with counting_pacs() as running:
        yield running


class Site:
    """A worker on one database with its spool."""

    def __init__(self, folder: Path, database: Database, forks: Forks, pacs: Pacs, wait: Wait) -> None:
        self.folder, self.database, self.pacs = folder, database, pacs
        self._forks, self._wait = forks, wait
        self.url = database.url.render_as_string(hide_password=False)
        self.configure()

    def configure(self, **sections: dict[str, object]) -> None:
        """Write the configuration."""
        to = [destination("pacs", self.pacs.peer)]
        self.config = write_config(self.folder, database_url=self.url, destinations=to, **sections)

    def run(self, *arguments: object, answers: str = "") -> Result:
        """`ich-triage` in this process."""
        words = [str(each) for each in (*arguments, "--config", self.config)]
        return CliRunner().invoke(cli.app, words, input=answers)

    def delivered(self, *, name: str = "Doe^Jane") -> str:
        """A study, sent, analysed, and its reports in the PACS."""
        datasets = tiny_head(clot=True, name=name)
        uid = str(datasets[0].StudyInstanceUID)
        put(self.database, self.folder / "spool", datasets)
        complete(self.database, uid)
        self.with_worker(lambda: self.sent(uid))
        return uid

    def sent(self, uid: str) -> bool:
        """Whether there are reports and all have been sent."""
        there = all_deliveries(self.database, uid)
        return bool(there) and {each["state"] for each in there} == {"sent"}

    def with_worker(self, until: Callable[[], object]) -> None:
        """With a worker that runs as long as it takes."""
        worker = self._forks.start("worker", self.folder / "worker.log", config=str(self.config))
        self._wait(until, limit_s=60, what=f"the worker; see {self.folder}/worker.log")
        worker.end()


@pytest.fixture
def site(tmp_path: Path, database: Database, forks: Forks, pacs: Pacs, wait_until: Wait) -> Site:
    """A site with a PACS and no study yet, once on each database."""
    return Site(tmp_path, database, forks, pacs, wait_until)


def _queued(site: Site) -> int:
    """Workflows that the queue remembers."""
    url = queue.system_database_url(site.url)
    other = Database(url)
    schema = "" if other.is_sqlite else "dbos."
    with other.engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT count(*) FROM {schema}workflow_status").scalar()
    other.close()
    return int(found or 0)


def test_a_worker_removes_by_itself_and_the_commands_say_what_is_gone(
    tmp_path: Path, sqlite: Database, forks: Forks, pacs: Pacs, wait_until: Wait
) -> None:
    """With images gone a report can be sent again; analysing again is refused with the date."""
    site = Site(tmp_path, sqlite, forks, pacs, wait_until)
    uid = site.delivered()
    age(site.database, uid, days=31)
    site.configure(retention={"images_days": 30})
    site.with_worker(lambda: not study(site.database, uid)["instances"])
    refused = site.run("reprocess", uid)
    day = study(site.database, uid)["images_removed_at"][:10]
    assert refused.exit_code == 1 and f"removed by retention on {day}" in str(refused.exception)
    assert f"images removed by retention on {day}" in site.run("study", uid).stdout
    assert "queued again" in site.run("redeliver", uid).stdout
    site.with_worker(lambda: site.sent(uid))
    assert {len(same) for same in site.pacs.arrivals.values()} == {2}
    assert all(len(set(same)) == 1 for same in site.pacs.arrivals.values())


def test_erase_asks_and_leaves_nothing_in_the_queue(site: Site) -> None:
    """A no changes nothing; a yes leaves neither file nor row nor workflow, and names who else was told."""
    site.delivered()
    assert _queued(site) == 1
    assert site.run("patient", "erase", "ID7", answers="n\n").exit_code == 1
    assert _queued(site) == 1 and files(site.folder)
    told = site.run("patient", "erase", "ID7", answers="y\n")
    assert told.exit_code == 0, told.output
    assert "destinations: pacs" in told.stdout and "1 studies erased" in told.stdout
    assert files(site.folder) == [] and _queued(site) == 0


def test_a_patient_is_copied_out(site: Site, tmp_path: Path) -> None:
    """The command names what it found and where it is."""
    uid = site.delivered()
    told = site.run("patient", "export", "ID7", "--out", tmp_path / "out")
    assert told.exit_code == 0 and uid in told.stdout
    assert list((tmp_path / "out" / uid / "reports").glob("1_sr_*.dcm"))
    assert "no study has exactly this patient ID" in str(site.run("patient", "erase", "id7").exception)


def test_the_queue_forgets_what_ended_long_ago(site: Site) -> None:
    """A worker prunes finished workflows; what is not finished stays."""
    uid = site.delivered()
    assert uid
    executor = queue.TriageQueue(site.url, "pruner", lambda _revision: None)
    executor.start(concurrency=1, poll_s=1)
    try:
        assert executor.prune(before=datetime.now(UTC) - timedelta(hours=1)) == 0
        assert executor.prune(before=datetime.now(UTC) + timedelta(hours=1)) == 1
    finally:
        executor.stop(grace_s=1)
    assert _queued(site) == 0


def test_a_study_goes_out_for_support_without_a_name(
    tmp_path: Path, sqlite: Database, forks: Forks, pacs: Pacs, wait_until: Wait
) -> None:
    """`study UID` still tells all; `study export` wants --deidentify, writes a ZIP, and is on record."""
    site = Site(tmp_path, sqlite, forks, pacs, wait_until)
    datasets = tiny_head()
    uid, out = str(datasets[0].StudyInstanceUID), tmp_path / "out.zip"
    put(sqlite, tmp_path / "spool", datasets)
    for words in (["study", uid, "--json"], ["study", "--json", uid], ["study", "show", uid, "--json"]):
        assert json.loads(site.run(*words).stdout)["study_instance_uid"] == uid
    assert "--deidentify" in str(site.run("study", "export", uid, "--out", out).exception)
    told = site.run("study", "export", uid, "--deidentify", "--out", out)
    assert told.exit_code == 0 and f"{SLICES} images" in told.stdout and "shows a face" in told.stdout
    assert out.is_file()
    with sqlite.read() as session:
        record = session.scalars(select(Audit)).one()
    assert (record.event, record.study_instance_uid) == ("study_exported", uid)
