"""The service as it is watched from outside: metrics, health and audit trail of its real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import httpx
import pytest
from pydicom.uid import CTImageStorage
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ich_triage.cli import app as cli
from ich_triage.domain.states import StudyState
from ich_triage.settings import Settings, Spool, Web
from ich_triage.store import migrate
from ich_triage.store.database import Database
from ich_triage.worklist.app import create
from ich_triage.worklist.server import WebServer
from tests.asking import STUDY_ROOT, add_study, answering, asking, find, identifier
from tests.audit_schema import check
from tests.integration.test_delivery import delivering, destination, plan, settings, states
from tests.pacs import counting_pacs
from tests.peers import program
from tests.receiving import AE_TITLE, send
from tests.scanner import head
from tests.scrape import fill, read
from tests.service import write_config
from tests.syslogd import Syslogd

Wait = Callable[..., None]


@contextmanager
def _running(config: Path, process: str, told: Path) -> Iterator[None]:
    """`ich-triage PROCESS`, told to end at the end; what it logs goes to the file `told`."""
    command = [sys.executable, "-m", "ich_triage", "--config", str(config), process]
    with told.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as running:
        try:
            yield
        finally:
            running.terminate()
            assert running.wait(60) == 0


def _messages(path: Path) -> list[Element]:
    found = [fromstring(line) for line in path.read_bytes().splitlines()]
    for each in found:
        check(each)
    return found


def _codes(message: Element) -> list[str | None]:
    return [each.get("csd-code") for each in message[0]]


def test_a_receiver_that_is_watched(tmp_path: Path, wait_until: Wait, free_port: int) -> None:
    """It says that it is ready and what it received, over HTTP; and who sent what, in the audit file."""
    audit, told = tmp_path / "audit.xml", tmp_path / "told"
    config = write_config(
        tmp_path,
        dicom={"ae_title": AE_TITLE},
        metrics={"receiver_port": free_port},
        audit={"file": str(audit), "patient_id": True},
    )
    database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")
    migrate.upgrade(database)
    objects = head(3)
    with (
        _running(config, "receiver", told),
        httpx.Client(base_url=f"http://127.0.0.1:{free_port}") as client,
    ):
        wait_until(lambda: "metrics_served" in told.read_text(), limit_s=60, what="the receiver")
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]) == (200, {"spool": "ok", "listener": "ok"})
        assert send(_port(told), objects, calling="CT1") == [0, 0, 0]
        assert read(client.get("/metrics").text)["ich_triage_receiver_objects_total"] == {(): 3}
        wait_until(lambda: audit.read_bytes().count(b"\n") == 2, what="the transfer")
    started, came, stopped = _messages(audit)
    assert [_codes(each) for each in (started, came, stopped)] == [
        ["110100", "110120"],
        ["110104"],
        ["110100", "110121"],
    ]
    study, patient = came.iter("ParticipantObjectIdentification")
    assert study.attrib["ParticipantObjectID"] == objects[0].StudyInstanceUID
    (kind,) = study.iter("SOPClass")
    assert kind.attrib == {"UID": CTImageStorage, "NumberOfInstances": "3"}
    assert patient.attrib["ParticipantObjectID"] == "ID7"
    database.close()


def _port(told: Path) -> int:
    lines = [json.loads(line) for line in told.read_text().splitlines() if "receiver_started" in line]
    return int(lines[0]["port"])


def _audited(logs: list[Any], event: str) -> list[Any]:
    return [each for each in logs if each.get("audit") and each["event"] == event]


def test_what_is_sent_to_a_pacs_is_told(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Each object with its study and the PACS."""
    with counting_pacs() as pacs, capture_logs() as logs:
        using = settings(tmp_path / "spool", destination(pacs.peer))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == {"sent"}, what="the PACS")
    sent = _audited(logs, "instances_sent")
    assert [(each["study_instance_uid"], each["ae_title"]) for each in sent] == [("1.2.3", "PACS")] * 2
    assert len({tuple(each["sop_classes"]) for each in sent}) == 2


@pytest.mark.risk("R-122")
def test_a_question_is_told_without_its_keys(sqlite: Database) -> None:
    """Who has asked by which SOP Class; the name that was asked for stays out of the log."""
    add_study(sqlite, "1.2.3", StudyState.FLAGGED, patient_name="Doe^John")
    with (
        capture_logs() as logs,
        answering(sqlite) as service,
        asking(service.port, STUDY_ROOT) as association,
    ):
        status, found = find(
            association, identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="", PatientName="Doe^John")
        )
    assert (status, len(found)) == (0, 1)
    (told,) = _audited(logs, "queried")
    assert list(told["sop_classes"]) == [STUDY_ROOT]
    assert told["address"] == "127.0.0.1"
    assert "Doe" not in str(logs)


def test_a_command_that_changes_rights_is_told(tmp_path: Path) -> None:
    """With the user of this machine as who did it; the command prints no log."""
    audit = tmp_path / "audit.xml"
    config = write_config(tmp_path, audit={"file": str(audit)})
    database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")
    migrate.upgrade(database)
    database.close()
    arguments = ["--config", str(config), "users", "add", "chief", "--role", "admin"]
    ran = CliRunner().invoke(cli.app, arguments, input="four unrelated words here\n")
    assert ran.stdout == "chief can log in as admin\n"
    (message,) = _messages(audit)
    assert _codes(message) == ["110113", "110137"]
    (account,) = message.iter("ParticipantObjectIdentification")
    assert account.attrib["ParticipantObjectID"] == "chief"


def test_doctor_looks_at_both_ways_of_the_trail(tmp_path: Path, dead_port: int) -> None:
    """A server that is away is named with the remedy; one that listens, and the file, are well."""

    def findings(syslog: str) -> dict[str, str]:
        config = write_config(tmp_path, audit={"file": str(tmp_path / "audit.xml"), "syslog": syslog})
        ran = CliRunner().invoke(cli.app, ["--config", str(config), "doctor", "--no-model", "--json"])
        return {each["subject"]: each["level"] for each in json.loads(ran.stdout)}

    away = findings(f"tcp://127.0.0.1:{dead_port}")
    assert (away["audit file"], away["audit syslog"]) == ("ok", "error")
    with Syslogd().by_tcp() as server:
        assert findings(f"tcp://127.0.0.1:{server.port}")["audit syslog"] == "ok"
    assert not (tmp_path / "audit.xml").exists()


@pytest.mark.peer
def test_a_real_prometheus_scrapes_the_web_process(
    sqlite: Database, tmp_path: Path, wait_until: Wait, free_port: int
) -> None:
    """Every figure arrives under its name, in the format that Prometheus asks for; the rules load."""
    fill(sqlite)
    using = Settings(web=Web(port=0), spool=Spool(path=tmp_path))
    server = WebServer(using.web, create(using, sqlite))
    server.start()
    try:
        with _prometheus(tmp_path, free_port, server.port) as client:

            def asked(query: str) -> list[Any]:
                told = client.get("/api/v1/query", params={"query": query}).json()
                return list(told["data"]["result"])

            wait_until(lambda: _answers(client) and asked("ich_triage_studies"), what="the first scrape")
            assert asked("ich_triage_studies{state='flagged'}")[0]["value"][1] == "1"
            slowest = asked('histogram_quantile(1, ich_triage_stage_seconds_bucket{stage="total"})')
            assert slowest[0]["value"][1] == "10"
            assert {each["health"] for each in _targets(client)} == {"up"}
            groups = client.get("/api/v1/rules").json()["data"]["groups"]
            assert sum(len(group["rules"]) for group in groups) == 20
    finally:
        server.stop()


@contextmanager
def _prometheus(folder: Path, port: int, target: int) -> Iterator[httpx.Client]:
    """A server of its own on loopback that scrapes one target every half second."""
    deployed = Path(__file__).parents[2] / "deploy/prometheus"
    shutil.copy(deployed / "alerts.yml", folder)
    text = (deployed / "prometheus.yml").read_text().replace("15s", "500ms")
    jobs = text.split("  - job_name: ich-triage-receiver")[0]
    (folder / "prometheus.yml").write_text(jobs.replace("localhost:8080", f"127.0.0.1:{target}"))
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("w") as log, subprocess.Popen(command, stderr=log) as running:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                yield client
        finally:
            running.terminate()
            running.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def _targets(client: httpx.Client) -> list[Any]:
    return list(client.get("/api/v1/targets").json()["data"]["activeTargets"])
