"""What `docs/faults.md` promises: each fault, for real, with studies under way; then everything resumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import make_url

from ich_triage.store.database import Database
from tests.faults import OF_DISK, PLAIN, suffer
from tests.forks import Forks
from tests.heads import SLICES, tiny_head
from tests.hospital import Hospital
from tests.network import SilentNetwork
from tests.outages import small_disk
from tests.patient_scanner import PatientScanner
from tests.service import complete, put, study

Wait = Callable[..., None]
#: longer than a worker is silent before it is taken for dead
LASTS_S = 1.0
HOUR_S = 3600


def events(hospital: Hospital, process: str) -> list[dict[str, Any]]:
    """What a process has logged."""
    lines = (hospital.folder / f"{process}.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"')]


@pytest.fixture
def hospital(tmp_path: Path, sqlite: Database, forks: Forks) -> Iterator[Hospital]:
    """On SQLite, with its peers; no service yet."""
    hospital = Hospital(tmp_path, tmp_path, sqlite, forks)
    with hospital.peers():
        yield hospital


@pytest.fixture
def on_small_disk(tmp_path: Path, migrated_sqlite: Path, forks: Forks) -> Iterator[Hospital]:
    """The same with spool and database on a file system of their own."""
    with small_disk(tmp_path, size="24m") as disk:
        if not disk.is_mount():
            pytest.skip("mounting a small file system is not permitted here")
        shutil.copy(migrated_sqlite, disk / "ich.sqlite")
        database = Database(f"sqlite:///{disk / 'ich.sqlite'}")
        hospital = Hospital(tmp_path, disk, database, forks)
        with hospital.peers():
            yield hospital
        database.close()


@pytest.mark.parametrize("fault", PLAIN)
def test_a_fault_passes(hospital: Hospital, fault: str) -> None:
    """Studies before and during it are reported once; nobody has to do anything."""
    with hospital.service(hospital.configure()):
        suffer(hospital, PLAIN[fault], lasts_s=LASTS_S)
    hospital.check()


@pytest.mark.parametrize(("fault", "why"), [("disk full", "reserve"), ("spool read-only", "Read-only file")])
def test_a_disk_that_takes_nothing_costs_no_study(on_small_disk: Hospital, fault: str, why: str) -> None:
    """Scanners hear A700 with the reason, the analysis waits without using up attempts, all goes on after."""
    config = on_small_disk.configure(worker={"max_attempts": 2})
    with on_small_disk.service(config):
        suffer(on_small_disk, OF_DISK[fault], lasts_s=LASTS_S)
    on_small_disk.check()
    refused = [
        each["reason"] for each in events(on_small_disk, "receiver") if each["event"] == "object_refused"
    ]
    assert any(why in reason or "No space left" in reason for reason in refused)


def test_a_result_waits_for_the_disk(on_small_disk: Hospital, forks: Forks, wait_until: Wait) -> None:
    """Analysed when the disk is full: neither failed nor half a report, however often it is tried."""
    hospital = on_small_disk
    config = hospital.configure(worker={"max_attempts": 2})
    head = tiny_head(clot=True)
    uid = str(head[0].StudyInstanceUID)
    hold = hospital.folder / "hold"
    hold.touch()
    put(hospital.database, hospital.disk / "spool", head)
    complete(hospital.database, uid)
    log = hospital.folder / "worker.log"
    forks.start("worker", log, config=str(config), hold=str(hold), hurried=True)
    wait_until(lambda: study(hospital.database, uid)["ledger"]["started"], limit_s=60, what="the analysis")

    def waits() -> int:
        return len([each for each in events(hospital, "worker") if each["event"] == "revision_waits"])

    with OF_DISK["spool read-only"](hospital):
        hold.unlink()
        wait_until(lambda: waits() > 2, limit_s=60, what="more attempts than there are")
        assert study(hospital.database, uid)["state"] == "in_progress"
    wait_until(lambda: hospital.pacs.reports("SR"), limit_s=60, what="the report")
    told = study(hospital.database, uid)
    assert (told["state"], told["revisions"][0]["attempts"], told["problems"]) == ("flagged", 1, [])


def test_a_worker_short_of_memory_analyses_one_after_the_other(
    hospital: Hospital, forks: Forks, wait_until: Wait
) -> None:
    """Two studies want more together than there is: one of them is begun again, alone; none is failed."""
    config = hospital.configure(worker={"max_attempts": 3})
    heads = [tiny_head(clot=True) for _ in range(2)]
    uids = [str(head[0].StudyInstanceUID) for head in heads]
    for uid, head in zip(uids, heads, strict=True):
        put(hospital.database, hospital.disk / "spool", head)
        complete(hospital.database, uid)
    log = hospital.folder / "worker.log"
    # in no hurry: a wait for SQLite that is cut short would begin one of them again before memory runs out
    forks.start("worker", log, config=str(config), eats_mb=4000, has_mb=6000)
    wait_until(
        lambda: all(study(hospital.database, uid)["state"] == "flagged" for uid in uids),
        limit_s=60,
        what=f"both; see {log}",
    )
    attempts = [study(hospital.database, uid)["revisions"][0]["attempts"] for uid in uids]
    assert sorted(attempts) == [1, 2]
    assert "MemoryError" in {each.get("error") for each in events(hospital, "worker")}


def test_a_lost_gpu_ends_the_process_and_not_the_study(
    hospital: Hospital, wait_until: Wait, tmp_path: Path
) -> None:
    """CUDA's error in mid-batch: every later call of the process would fail, so a new one takes the study."""
    (tmp_path / "lost").touch()
    with hospital.service(hospital.configure(), worker={"loses_device": str(tmp_path / "lost")}):
        hospital.scan(clot=True)
        wait_until(lambda: not hospital.unsettled(), limit_s=60, what="the report")
    hospital.check()
    told = [each["event"] for each in events(hospital, "worker0")]
    assert told.count("device_lost") == 1
    assert "worker_started" in told[told.index("device_lost") : told.index("revision_stored")]


def test_a_network_that_falls_silent_delays_no_scanner(
    tmp_path: Path, postgresql: Database, forks: Forks
) -> None:
    """Packets to the database vanish: objects are acknowledged as fast as ever, and all resumes with it."""
    server = Path(str(postgresql.url.query["host"])) / ".s.PGSQL.5432"
    hospital = Hospital(tmp_path, tmp_path, postgresql, forks)
    with SilentNetwork(server).serve() as network, hospital.peers():
        patience = {"connect_timeout": "2", "tcp_user_timeout": "1000", "keepalives_idle": "1"}
        url = make_url(postgresql.url).set(
            host=network.host, port=network.port, query=patience | {"keepalives_interval": "1"}
        )
        config = hospital.configure(database={"url": url.render_as_string(hide_password=False)})
        with hospital.service(config):
            hospital.scan(clot=True)
            took = suffer_silence(hospital, network)
            assert took < 5.0
            limit = monotonic() + 60
            while hospital.unsettled():
                assert monotonic() < limit, f"see {tmp_path}"
    hospital.check()


def suffer_silence(hospital: Hospital, network: SilentNetwork) -> float:
    """How long a scanner takes for a study while the database's network is silent, s."""
    with network.silent():
        began = monotonic()
        hospital.scan(clot=False)
        took = monotonic() - began
        while not any(each["event"] == "indexing_waits" for each in events(hospital, "receiver")):
            assert monotonic() - began < 30
    return took


def test_a_clock_that_is_set_holds_nothing_up(
    hospital: Hospital, sqlite: Database, forks: Forks, wait_until: Wait
) -> None:
    """Back an hour, then on by a day: in mid-study, as a report waits for its PACS, and as a worker dies."""
    clock = forks.clock or pytest.skip("setting the clock takes a C compiler")

    def settled() -> None:
        wait_until(lambda: not hospital.unsettled(), limit_s=60, what="every report", every_s=0.1)

    with hospital.service(hospital.configure(delivery={"backoff_s": 2.0, "backoff_max_s": 2.0})):
        hospital.scan(clot=True)
        settled()
        for seconds in (-HOUR_S, 24 * HOUR_S):
            head = tiny_head()
            with hospital.pacs.away():
                waiting = hospital.scan(clot=True)
                wait_until(
                    lambda uid=waiting: any(each["last_error"] for each in study(sqlite, uid)["deliveries"]),
                    limit_s=60,
                    what="a report that waits",
                )
                PatientScanner(hospital.us).send(head[: SLICES // 2])
                clock.set(seconds)
                PatientScanner(hospital.us).send(head[SLICES // 2 :])
                hospital.acknowledged[str(head[0].StudyInstanceUID)] = False
                worker = hospital.supervised["worker0"].fork
                assert worker is not None
                worker.kill()
            settled()
    hospital.check()
    steps = {round(each["by_s"]) for each in events(hospital, "receiver") if each["event"] == "clock_was_set"}
    assert steps == {-HOUR_S, 25 * HOUR_S}
