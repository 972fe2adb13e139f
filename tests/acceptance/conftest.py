"""The whole service as its user starts it, between real peers; one for all acceptance tests of a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ich_triage.dicom import scu
from ich_triage.dicom.scu import Peer
from ich_triage.domain.states import FINAL_STATES
from ich_triage.errors import DeliveryError, UnknownStudyError
from ich_triage.store import worklist as query
from ich_triage.store.database import Database
from tests.peers import Orthanc, dcmqrscp, orthanc, probe_port
from tests.service import Json, destination, study, write_config

Wait = Callable[..., None]
LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Hospital:
    """A running service and its PACS."""

    #: our listener
    us: Peer
    #: whom other systems ask
    asked: Peer
    #: configuration file
    config: Path
    #: where the service keeps everything
    folder: Path
    #: `ich-triage serve`
    process: psutil.Process
    #: one destination, with storage commitment
    orthanc: Orthanc
    #: where the other destination stores
    archive: Path
    #: the service's database
    database: Database
    #: waits
    wait: Wait

    def until_settled(self, uid: str, *, revision: int = 1) -> Json:
        """Wait until a study is final, with all its slices, and everything of it is where it shall be."""

        def settled() -> bool:
            try:
                with self.database.read() as session:
                    complete = query.one(session, uid).covers_all
                told = study(self.database, uid)
            except UnknownStudyError:
                return False
            return (
                complete
                and told["revision"] >= revision
                and told["state"] in FINAL_STATES
                and all(_arrived(each) for each in told["deliveries"])
            )

        self.wait(settled, limit_s=LIMIT_S, what=f"study {uid}; see {self.folder}/service.log")
        return study(self.database, uid)

    def files_at_orthanc(self, uid: str) -> dict[str, bytes]:
        """SOP Instance UID → stored file of our objects of one study."""
        instances = self.orthanc.get("/instances?expand")
        own = {each["sop_instance_uid"] for each in study(self.database, uid)["deliveries"]}
        return {
            str(each["MainDicomTags"]["SOPInstanceUID"]): self.orthanc.file(str(each["ID"]))
            for each in instances
            if each["MainDicomTags"]["SOPInstanceUID"] in own
        }

    def at_orthanc(self, uid: str) -> set[str]:
        """SOP Instance UIDs of all that Orthanc has of one study."""
        found = self.orthanc.get("/instances?expand")
        return {
            str(each["MainDicomTags"]["SOPInstanceUID"])
            for each in found
            if self.orthanc.get(f"/instances/{each['ID']}/study")["MainDicomTags"]["StudyInstanceUID"] == uid
        }

    def process_ids(self) -> set[int]:
        """Of the receiver and the worker."""
        return {child.pid for child in self.process.children()}


def _arrived(delivery: Json) -> bool:
    return bool(delivery["state"] == ("committed" if delivery["destination"] == "orthanc" else "sent"))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, wait_until: Wait) -> Iterator[Hospital]:
    """`ich-triage serve` with all its processes, Orthanc with storage commitment, and dcmqrscp."""
    folder = tmp_path_factory.mktemp("hospital")
    us, asked = (Peer(host="127.0.0.1", port=probe_port(), ae_title="ICH_TRIAGE") for _ in range(2))
    with (
        orthanc(folder / "orthanc", modalities={"triage": us}) as pacs,
        dcmqrscp(folder / "qr") as (qr, kept),
    ):
        config = write_config(
            folder,
            port=us.port,
            query={"enabled": True, "port": asked.port},
            destinations=[
                destination("orthanc", pacs.peer, commitment=True),
                destination("archive", qr),
            ],
        )
        with (folder / "service.log").open("wb") as log:
            command = [sys.executable, "-m", "ich_triage", "--config", str(config), "serve"]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: _answers(us), limit_s=LIMIT_S, what="the receiver")
            log_file = folder / "service.log"
            wait_until(lambda: b"worker_started" in log_file.read_bytes(), limit_s=LIMIT_S, what="the worker")
            yield Hospital(
                us=us,
                asked=asked,
                config=config,
                folder=folder,
                process=psutil.Process(process.pid),
                orthanc=pacs,
                archive=kept,
                database=Database(f"sqlite:///{folder / 'ich.sqlite'}"),
                wait=wait_until,
            )
        finally:
            process.terminate()
            process.wait(60)


def _answers(us: Peer) -> bool:
    try:
        scu.echo(us, calling="TEST", timeout_s=5.0)
    except DeliveryError:
        return False
    return True
