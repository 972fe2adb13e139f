"""kill -9 with the shipped model: `ich-triage serve` restarts what dies, nothing is lost or doubled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ich_triage.dicom.scu import Peer
from ich_triage.domain.states import FINAL_STATES
from ich_triage.store.database import Database
from tests.heads import SLICES, tiny_head
from tests.pacs import counting_pacs
from tests.patient_scanner import PatientScanner
from tests.peers import probe_port
from tests.service import destination, study, worklist, write_config

Wait = Callable[..., None]
LIMIT_S = 400.0


def _child(service: psutil.Process, name: str) -> psutil.Process | None:
    for child in service.children():
        try:
            if child.cmdline()[-1:] == [name]:
                return child
        except psutil.NoSuchProcess:
            continue
    return None


@pytest.mark.timeout(1200)
def test_the_shipped_service_survives_its_processes(tmp_path: Path, wait_until: Wait) -> None:
    """The receiver dies in the middle of a study, the worker in the middle of an analysis."""
    us = Peer(host="127.0.0.1", port=probe_port(), ae_title="ICH_TRIAGE")
    studies = [tiny_head(clot=True) for _ in range(3)]
    uids = [str(datasets[0].StudyInstanceUID) for datasets in studies]
    with counting_pacs(commits_to=us) as pacs, (tmp_path / "service.log").open("wb") as log:
        config = write_config(
            tmp_path, port=us.port, destinations=[destination("pacs", pacs.peer, commitment=True)]
        )
        command = [sys.executable, "-m", "ich_triage", "--config", str(config), "serve"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        service = psutil.Process(process.pid)
        try:
            _under_fire(service, us, studies, tmp_path, wait_until)
            database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")

            def settled() -> bool:
                rows = {row["study_instance_uid"]: row for row in worklist(database)}
                return all(
                    uid in rows
                    and rows[uid]["state"] in FINAL_STATES
                    and rows[uid]["deliveries"]
                    and all(each["state"] == "committed" for each in rows[uid]["deliveries"])
                    for uid in uids
                )

            wait_until(settled, limit_s=LIMIT_S, what=f"every report; see {tmp_path}/service.log")
            told = [study(database, uid) for uid in uids]
        finally:
            process.terminate()
            process.wait(90)
    assert [len(each["slices"]) for each in told] == [SLICES] * 3
    planned = [each for one in told for each in one["revisions"] for each in each["deliveries"]]
    assert set(pacs.arrivals) == {each["sop_instance_uid"] for each in planned}
    assert all(len(set(arrivals)) == 1 for arrivals in pacs.arrivals.values())
    assert max(revision["attempts"] for one in told for revision in one["revisions"]) >= 2


def _under_fire(
    service: psutil.Process, us: Peer, studies: list[list[object]], folder: Path, wait_until: Wait
) -> None:
    """Send while the receiver is killed once, and the worker in its first analysis."""
    record = folder / "service.log"
    with ThreadPoolExecutor(1) as scanner:
        sent = scanner.submit(
            lambda: [PatientScanner(us).send(datasets, limit_s=LIMIT_S) for datasets in studies]
        )
        received = folder / "spool" / "studies"
        wait_until(lambda: len(list(received.glob("*/*.dcm"))) > SLICES, limit_s=LIMIT_S, what="slices")
        receiver = _child(service, "receiver")
        assert receiver is not None
        receiver.kill()
        sent.result()
    wait_until(lambda: b"worker_started" in record.read_bytes(), limit_s=LIMIT_S, what="the worker")
    database = Database(f"sqlite:///{folder / 'ich.sqlite'}")

    def in_work() -> bool:
        return any(
            row["ledger"].get("started") and not row["ledger"].get("stored") for row in worklist(database)
        )

    def killed_in_work() -> bool:
        """Look again once it cannot move any more: it may just have ended what it was at."""
        worker = _child(service, "worker")
        if worker is None or not in_work():
            return False
        worker.suspend()
        if in_work():
            worker.kill()
            return True
        worker.resume()
        return False

    wait_until(killed_in_work, limit_s=LIMIT_S, what="a study in work")
    database.close()
