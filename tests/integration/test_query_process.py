"""The process that other systems ask, as its user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pynetdicom.sop_class import UnifiedProcedureStepPull  # type: ignore[attr-defined]
from sqlalchemy import text

from ich_triage.dicom import scu
from ich_triage.dicom.scu import Peer
from ich_triage.domain.states import StudyState
from ich_triage.errors import DeliveryError, SettingsError
from ich_triage.query.watch import step_uid
from ich_triage.settings import load
from ich_triage.store.database import Database
from tests.asking import STUDY_ROOT, Watcher, act, add_study, answering, asking, change, find, identifier
from tests.forks import Forks
from tests.peers import probe_port, program
from tests.service import write_config

Wait = Callable[..., None]


def _answers(port: int) -> bool:
    try:
        scu.echo(Peer(host="127.0.0.1", port=port, ae_title="ICH_TRIAGE"), calling="RIS", timeout_s=5.0)
    except DeliveryError:
        return False
    return True


@pytest.fixture
def config(sqlite: Database, tmp_path: Path) -> Path:
    """With a flagged study, for RIS alone to ask about."""
    add_study(sqlite, "1.2.1", StudyState.FLAGGED, patient_id="P1")
    query = {"enabled": True, "port": probe_port(), "calling_ae_titles": ["RIS"]}
    return write_config(tmp_path, port=probe_port(), query=query)


@pytest.mark.peer
def test_the_process_answers_findscu_and_ends_in_order(config: Path, wait_until: Wait) -> None:
    """`ich-triage query` alone; its log names no patient."""
    port = load(config).query.port
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "0032,000c"]
    command = [sys.executable, "-m", "ich_triage", "--config", str(config), "query"]
    log = config.parent / "query.log"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        wait_until(lambda: _answers(port), limit_s=60, what="the query process")
        command = [program("findscu"), "-v", "-S", "-aet", "RIS", "-aec", "ICH_TRIAGE", *keys]
        told = subprocess.run(
            [*command, "127.0.0.1", str(port)], capture_output=True, text=True, check=True, timeout=60
        )
        assert "[HIGH]" in told.stdout + told.stderr
        process.terminate()
        assert process.wait(30) == 0
    written = log.read_text()
    assert "query_stopped" in written
    assert "P1" not in written


def test_doctor_looks_at_it_and_at_its_subscribers(
    config: Path, dead_port: int, forks: Forks, wait_until: Wait
) -> None:
    """A running process is found to be ours; a subscriber that is away is an error with its remedy."""
    away = Watcher("AWAY", dead_port).table
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in away.items())
    config.write_text(config.read_text() + f"[[query.subscribers]]\n{table}")
    forks.type(config.parent, "--config", config, "query")
    wait_until(lambda: _answers(load(config).query.port), limit_s=60, what="the query process")
    told = forks.run(config.parent, "--config", config, "doctor", "--json", "--no-model")
    found = {each["subject"]: each for each in json.loads(told.stdout)}
    assert found["query port"]["level"] == "ok"
    assert "answers as ICH_TRIAGE" in found["query port"]["seen"]
    assert found["subscriber AWAY"]["level"] == "error"
    assert found["subscriber AWAY"]["remedy"]


def test_a_killed_process_loses_no_claim_and_no_event(
    config: Path, free_port: int, forks: Forks, wait_until: Wait
) -> None:
    """What was answered before `kill -9` holds afterwards, and who was away then is told all of it."""
    watcher, step = Watcher("WATCHER", free_port), step_uid("1.2.1", 1)
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in watcher.table.items())
    config.write_text(config.read_text() + f"[[query.subscribers]]\n{table}")
    port, pull = load(config).query.port, UnifiedProcedureStepPull
    process = forks.type(config.parent, "--config", config, "query")
    wait_until(lambda: _answers(port), limit_s=60, what="the query process")
    with asking(port, pull, calling="RIS", called="ICH_TRIAGE") as reader:
        assert act(reader, 3, step, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0
        assert change(reader, step, "IN PROGRESS", "1.2.3.4") == 0
        process.kill()
    forks.type(config.parent, "--config", config, "query")
    with watcher.listening():
        wait_until(lambda: _answers(port), limit_s=60, what="the query process")
        with asking(port, pull, calling="RIS", called="ICH_TRIAGE") as reader:
            assert change(reader, step, "IN PROGRESS", "1.2.3.5") == 0xC302
            assert change(reader, step, "COMPLETED", "1.2.3.4") == 0
        wait_until(lambda: len(watcher.events) >= 3, limit_s=60, what="three events")
    assert watcher.of(step) == [(1, "SCHEDULED"), (1, "IN PROGRESS"), (1, "COMPLETED")]


def test_a_port_in_use_is_one_line(config: Path, sqlite: Database, forks: Forks) -> None:
    """With the address, and what to do."""
    with answering(sqlite) as service:
        before = f"port = {load(config).query.port}"
        config.write_text(config.read_text().replace(before, f"port = {service.port}"))
        told = forks.run(config.parent, "--config", config, "query")
    assert told.returncode == 1
    assert told.stderr.strip().splitlines()[-1].startswith("ich-triage: cannot listen on 127.0.0.1")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"host": "0.0.0.0"}, "name who may in calling_ae_titles"),
        ({"host": "pacs.example"}, "name who may in calling_ae_titles"),
        ({"calling_ae_titles": ["A\\B"]}, "AE title"),
        ({"retrieve_ae_title": "X" * 17}, "AE title"),
        ({"max_answers": 0}, "max_answers"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, query: dict[str, object], words: str) -> None:
    """An address that others reach without a list of who may ask; titles that are none."""
    with pytest.raises(SettingsError, match=words):
        load(write_config(tmp_path, query=query))


def test_settings_that_are_taken(tmp_path: Path) -> None:
    """Loopback needs no list; with one, any address will do."""
    for query in ({"host": "::1"}, {"host": "localhost"}, {"host": "0.0.0.0", "calling_ae_titles": ["RIS"]}):
        assert load(write_config(tmp_path, query=query)).query.host == query["host"]


def test_a_database_that_goes_away_ends_no_association(sqlite: Database) -> None:
    """A question that cannot be answered gets a failure status, and the next one is tried again."""
    question = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    with answering(sqlite, sweep_s=60.0) as service, asking(service.port, STUDY_ROOT) as association:
        with sqlite.write() as session:
            session.execute(text("ALTER TABLE studies RENAME TO gone"))
        assert find(association, question)[0] == 0xC000
        with sqlite.write() as session:
            session.execute(text("ALTER TABLE gone RENAME TO studies"))
        assert find(association, question)[0] == 0
