"""Real DICOM peers and judges for tests: Orthanc, DCMTK's dcmqrscp and storescp, dciodvfy, dsrdump.

Each server runs on loopback, on a freshly probed port, in a folder of its own; it is stopped through its
own process handle. A test that needs a program which is not installed is skipped.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any, Self

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from ich_triage.dicom.commitment import read_result
from ich_triage.dicom.scu import Peer
from ich_triage.domain.commitment import CommitmentResult

LOOPBACK = "127.0.0.1"
START_LIMIT_S = 30.0


def program(name: str) -> str:
    """Path of an installed program; skips the test where it is absent."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def findscu_of_any_model(folder: Path) -> Path:
    """DCMTK's findscu, built into `folder`, with the SOP Class UID of the model as its first argument.

    Skips the test where DCMTK's headers are absent.
    """
    if not Path("/usr/include/dcmtk/dcmnet/dfindscu.h").exists():
        pytest.skip("libdcmtk-dev is not installed")
    source, built = Path(__file__).parent / "dcmtk" / "findscu.cpp", folder / "findscu"
    libraries = ("-ldcmnet", "-ldcmdata", "-loflog", "-lofstd")
    subprocess.run([program("g++"), "-std=c++17", source, "-o", built, *libraries], check=True, timeout=120)
    return built


def echoscu(port: int, *options: str | Path, called: str) -> subprocess.CompletedProcess[str]:
    """DCMTK's C-ECHO to a port of this machine."""
    command = [program("echoscu"), *map(str, options), "-aec", called, LOOPBACK, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def probe_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def dciodvfy_errors(path: Path) -> list[str]:
    """What dciodvfy calls an error in a file; warnings left aside."""
    result = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    told = result.stdout + result.stderr
    return [line for line in told.splitlines() if line.startswith("Error")]


def dsrdump(path: Path) -> str:
    """DCMTK's reading of a structured report, long values in full. Fails where it cannot be read."""
    command = [program("dsrdump"), "+U8", "+Pl", "+Pc", str(path)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


@contextmanager
def running(
    command: Sequence[str], folder: Path, *, port: int, name: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that listens on `port`, from when it does until the block ends."""
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for_port(process, port, folder / f"{name}.log")
            yield process
        finally:
            process.kill()  # nothing it holds is needed any more, and Orthanc takes seconds to leave in order
            process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = monotonic() + START_LIMIT_S
    while monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"server ended: {output.read_text(errors='replace')[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        sleep(0.05)
    raise AssertionError(f"server does not listen: {output.read_text(errors='replace')[-2000:]}")


@dataclass(frozen=True, kw_only=True)
class Orthanc:
    """A running Orthanc."""

    #: its DICOM side
    peer: Peer
    #: port of its REST interface
    http_port: int

    def get(self, path: str) -> Any:
        """GET of a JSON resource."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.http_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: bytes) -> Any:
        """POST to a resource."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.http_port}{path}", body, timeout=60) as answer:
            return json.load(answer)

    def file(self, instance: str) -> bytes:
        """The stored file of an instance, by Orthanc's own id."""
        url = f"http://{LOOPBACK}:{self.http_port}/instances/{instance}/file"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())

    def sop_instance_uids(self) -> list[str]:
        """SOP Instance UIDs of everything it has stored."""
        return [str(each["MainDicomTags"]["SOPInstanceUID"]) for each in self.get("/instances?expand")]


@contextmanager
def orthanc(
    folder: Path, *, port: int | None = None, modalities: dict[str, Peer] | None = None
) -> Iterator[Orthanc]:
    """Orthanc as a PACS with AE title ORTHANC; `modalities` are those it sends commitment results to."""
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = port or probe_port(), probe_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "DicomAet": "ORTHANC",
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpServerEnabled": True,
        "DicomModalities": {
            name: [each.ae_title, each.host, each.port] for name, each in (modalities or {}).items()
        },
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    server = Orthanc(peer=Peer(host=LOOPBACK, port=dicom_port, ae_title="ORTHANC"), http_port=http_port)
    with running([program("Orthanc"), str(path)], folder, port=http_port, name="orthanc") as process:
        _wait_for_port(process, dicom_port, folder / "orthanc.log")
        yield server


@contextmanager
def dcmqrscp(folder: Path, *, port: int | None = None) -> Iterator[tuple[Peer, Path]]:
    """DCMTK's archive with AE title DCMQR; yields it and the folder in which it stores."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = folder / "storage"
    storage.mkdir(exist_ok=True)
    port = port or probe_port()
    path = folder / "dcmqrscp.cfg"
    path.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQR {storage} RW (200, 1024mb) ANY\nAETable END\n",
        encoding="utf-8",
    )
    command = [program("dcmqrscp"), "-c", str(path)]
    with running(command, folder, port=port, name="dcmqrscp"):
        yield Peer(host=LOOPBACK, port=port, ae_title="DCMQR"), storage


@contextmanager
def storescp(folder: Path, *options: str, port: int | None = None) -> Iterator[tuple[Peer, Path]]:
    """DCMTK's storescp with `options`; yields it and the folder in which it stores."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = folder / "stored"
    storage.mkdir(exist_ok=True)
    port = port or probe_port()
    command = [program("storescp"), *options, "-od", str(storage), str(port)]
    with running(command, folder, port=port, name="storescp"):
        yield Peer(host=LOOPBACK, port=port, ae_title="STORESCP"), storage


class Archive:
    """A PACS of pynetdicom's whose manners a test can choose; it counts what it is asked."""

    def __init__(self) -> None:
        #: SOP Instance UID of every C-STORE, in order, repeated ones too
        self.stored: list[str] = []
        #: bytes of the data set of each, by SOP Instance UID
        self.data: dict[str, set[bytes]] = {}
        #: references of every commitment request
        self.requests: list[list[str]] = []
        #: what it answers to C-STORE
        self.store_status = 0x0000
        #: what it answers to a commitment request
        self.commitment_status = 0x0000
        #: SOP Instance UIDs that it will not commit to
        self.uncommitted: set[str] = set()
        #: whether it ever reports a result
        self.answers = True
        #: the status that each of its results was answered with, FFFF where none came
        self.told: list[int] = []
        #: it aborts the association instead of answering so many C-STOREs
        self.aborts = 0
        self.peer = Peer(host=LOOPBACK, port=probe_port(), ae_title="ARCHIVE")
        self._lock = Lock()

    @contextmanager
    def serve(self, *, commitment: bool = False) -> Iterator[Self]:
        """Listen until the block ends; `commitment`: offer it, and answer on the same association."""
        ae = AE(ae_title=self.peer.ae_title)
        for sop_class in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage, Verification):
            ae.add_supported_context(sop_class)
        if commitment:
            ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        address = (LOOPBACK, self.peer.port)
        server = ae.start_server(address, block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            server.shutdown()

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._lock:
            self.stored.append(uid)
            self.data.setdefault(uid, set()).add(event.request.DataSet.getvalue())
            abort = self.aborts > 0
            self.aborts -= abort
        if abort:
            event.assoc.abort()
        return self.store_status

    def _action(self, event: evt.Event) -> tuple[int, None]:
        wanted = list(event.action_information.ReferencedSOPSequence)
        self.requests.append([str(item.ReferencedSOPInstanceUID) for item in wanted])
        if self.commitment_status == 0 and self.answers:
            result = Dataset()
            result.TransactionUID = event.action_information.TransactionUID
            kept = [i for i in wanted if i.ReferencedSOPInstanceUID not in self.uncommitted]
            lost = [i for i in wanted if i.ReferencedSOPInstanceUID in self.uncommitted]
            result.ReferencedSOPSequence = kept
            for item in lost:
                item.FailureReason = 0x0112
            if lost:
                result.FailedSOPSequence = lost
            Thread(target=self._report, args=(event.assoc, result), daemon=True).start()
        return self.commitment_status, None

    def _report(self, assoc: Association, result: Dataset) -> None:
        kind = 2 if "FailedSOPSequence" in result else 1
        answer, _ = assoc.send_n_event_report(
            result, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.told.append(int(answer.get("Status", 0xFFFF)))


@contextmanager
def commitment_listener(on_result: Callable[[CommitmentResult], None], *, ae_title: str) -> Iterator[Peer]:
    """A listener for commitment results that come over associations of their own."""

    def record(event: evt.Event) -> tuple[int, None]:
        on_result(read_result(event.event_information))
        return 0x0000, None

    peer = Peer(host=LOOPBACK, port=probe_port(), ae_title=ae_title)
    ae = AE(ae_title=ae_title)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, record)]
    server = ae.start_server((peer.host, peer.port), block=False, evt_handlers=handlers)
    try:
        yield peer
    finally:
        server.shutdown()
