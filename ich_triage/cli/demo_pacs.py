"""The demo's stand-in PACS: Orthanc where installed, else a storage SCP of pynetdicom's."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from ..errors import IchTriageError

AE_TITLE = "PACS"
START_LIMIT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class StandInPacs:
    """A running PACS and how to look into it."""

    #: to show
    name: str
    #: where it listens on loopback
    port: int
    #: whether it offers storage commitment
    commitment: bool
    #: whether it holds the object with that SOP Instance UID
    holds: Callable[[str], bool]
    #: where a person finds what it holds
    where: str


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def start_pacs(folder: Path, our_port: int) -> Iterator[StandInPacs]:
    """Run a PACS that keeps what it gets below `folder` and knows us at `our_port`."""
    folder.mkdir(parents=True)
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    with _orthanc(program, folder, our_port) if program else _pynetdicom(folder) as pacs:
        yield pacs


@contextmanager
def _orthanc(program: str, folder: Path, our_port: int) -> Iterator[StandInPacs]:
    port, http = free_port(), free_port()
    configuration = {
        "Name": "ICH Triage demo",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {"triage": ["ICH_TRIAGE", "127.0.0.1", our_port]},
        "Plugins": [],
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration, indent=2))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(file)], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{http}"
        _wait(lambda: _answers(url), process)
        yield StandInPacs(
            name=f"Orthanc at {url}",
            port=port,
            commitment=True,
            holds=lambda uid: bool(json.loads(_http(f"{url}/tools/lookup", uid.encode()))),
            where=f"{folder} (Orthanc's storage, plain DICOM files)",
        )
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return bool(_http(f"{url}/system"))
    except (urllib.error.URLError, ConnectionError):
        return False


def _http(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, body, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + START_LIMIT_S
    while not ready():
        if process.poll() is not None or monotonic() > deadline:
            raise IchTriageError("the demo's PACS did not start; see orthanc.log in its folder")
        sleep(0.1)


@contextmanager
def _pynetdicom(folder: Path) -> Iterator[StandInPacs]:
    ae = AE(AE_TITLE)
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)

    def keep(event: evt.Event) -> int:
        uid = getattr(event.request, "AffectedSOPInstanceUID", "unnamed")
        (folder / f"{uid}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    try:
        yield StandInPacs(
            name="a storage SCP of pynetdicom's (no Orthanc on this machine)",
            port=server.server_address[1],
            commitment=False,
            holds=lambda uid: (folder / f"{uid}.dcm").is_file(),
            where=str(folder),
        )
    finally:
        server.shutdown()
