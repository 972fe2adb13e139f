"""Receiving side by side, plain and by TLS: this receiver with fsync, two storescp, Orthanc.

One sender for all: DCMTK's `storescu`, one process for each association, the same files, 128 KiB PDUs; by TLS
it checks the server's certificate. pynetdicom's storescp speaks no TLS, and takes ten associations. Every run
gets a fresh server on a fresh folder; servers take turns, so that a noisy minute hits all of them. The clock
runs from the start of the senders until the last one has its last acknowledgement.

    python -m bench.receive [--repeats 3] [--images 400]
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

import numpy as np
import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rich.console import Console
from rich.table import Table

from tests.certificates import Certificates, make_certificates

AE_TITLE = "BENCH"
PDU_BYTES = 131072
START_LIMIT_S = 120.0
SEND_LIMIT_S = 300.0

_OWN = """
import signal, sys, threading
from pathlib import Path
from ich_triage.intake.receiver import Receiver
from ich_triage.settings import Settings
from ich_triage.store import migrate
from ich_triage.store.database import Database
from ich_triage.telemetry.logs import configure

folder, port, certificate = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
secure = {"tls_port": port, "tls_certificate": certificate, "plain": False}
settings = Settings(
    dicom={"ae_title": "BENCH", "host": "127.0.0.1"} | (secure if certificate else {"port": port}),
    spool={"path": folder / "spool", "reserve_bytes": 0},
)
configure(settings.log, process="receiver")
database = Database(f"sqlite:///{folder / 'ich.sqlite'}")
migrate.upgrade(database)
receiver = Receiver(settings, database, on_commitment=lambda result: None)
receiver.start()
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
stop.wait()
receiver.stop()
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One receiving program."""

    #: name in the table
    name: str
    #: program that must be there
    program: str
    #: folder, port and what TLS takes → command line
    command: Callable[[Path, int, Certificates | None], list[str]]
    #: pattern of the files that it must hold in the end
    stored: str
    #: whether it flushes each object to stable storage before it answers
    durable: bool = False
    #: whether it speaks TLS
    tls: bool = True
    #: associations that it takes at a time
    most: int = 100


def _own(folder: Path, port: int, certificates: Certificates | None) -> list[str]:
    certificate = str(certificates.signed) if certificates else ""
    return [sys.executable, "-c", _OWN, str(folder), str(port), certificate]


def _pynetdicom(folder: Path, port: int, _certificates: Certificates | None) -> list[str]:
    options = ["--quiet", "-aet", AE_TITLE, "-ba", "127.0.0.1", "-pdu", str(PDU_BYTES), "-od", str(folder)]
    return [sys.executable, "-m", "pynetdicom", "storescp", str(port), *options]


def _dcmtk(folder: Path, port: int, certificates: Certificates | None) -> list[str]:
    secure = ["+tls", *[str(certificates.signed)] * 2, "-ic"] if certificates else []
    return ["storescp", "--fork", "+B", *secure, "-pdu", str(PDU_BYTES), "-od", str(folder), str(port)]


def _orthanc(folder: Path, port: int, certificates: Certificates | None) -> list[str]:
    configuration = folder / "orthanc.json"
    secure = (
        {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(certificates.signed),
            "DicomTlsPrivateKey": str(certificates.signed),
            "DicomTlsTrustedCertificates": str(certificates.authority),
            "DicomTlsRemoteCertificateRequired": False,
        }
        if certificates
        else {}
    )
    plain = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "MaximumPduLength": PDU_BYTES,
        "HttpServerEnabled": False,
        "RemoteAccessAllowed": False,
        "Plugins": [],
    }
    configuration.write_text(json.dumps(plain | secure))
    return ["Orthanc", str(configuration)]


SERVERS = (
    Server(
        name="ich-triage receiver",
        program=sys.executable,
        command=_own,
        stored="spool/studies/*/*.dcm",
        durable=True,
    ),
    Server(
        name="pynetdicom storescp",
        program=sys.executable,
        command=_pynetdicom,
        stored="CT.*",
        tls=False,
        most=10,
    ),
    Server(name="DCMTK storescp", program="storescp", command=_dcmtk, stored="CT.*"),
    Server(name="Orthanc", program="Orthanc", command=_orthanc, stored="db/*/*/*"),
)


def make_images(folder: Path, count: int) -> list[Path]:
    """`count` CT images of 512² with noise in them, of one series."""
    rng = np.random.default_rng(0)
    study, series = generate_uid(), generate_uid()
    files = []
    for number in range(1, count + 1):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.PatientID, data.PatientName, data.Modality = "BENCH", "Bench^Mark", "CT"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        data.InstanceNumber, data.SliceThickness, data.PixelSpacing = number, 1, [0.5, 0.5]
        data.Rows = data.Columns = 512
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleIntercept, data.RescaleSlope = 0, 1
        data.PixelData = rng.normal(40, 10, (512, 512)).astype("<i2").tobytes()
        files.append(folder / f"{number:04d}.dcm")
        data.save_as(files[-1], enforce_file_format=True)
    return files


@contextmanager
def _running(
    server: Server, folder: Path, certificates: Certificates | None
) -> Iterator[tuple[psutil.Process, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = server.command(folder, port, certificates)
    output = folder / "output.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
    try:
        deadline = monotonic() + START_LIMIT_S
        ask = ["echoscu", *_secure(certificates), "-aec", AE_TITLE, "127.0.0.1", str(port)]
        while subprocess.run(ask, capture_output=True).returncode:
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"{server.name} did not start: {output.read_text()[-1000:]}")
            sleep(0.1)
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        process.wait()


def _secure(certificates: Certificates | None) -> list[str]:
    """Options of DCMTK's senders."""
    return ["+tla", "+cf", str(certificates.authority)] if certificates else []


def send(files: list[Path], port: int, associations: int, certificates: Certificates | None = None) -> float:
    """Seconds until every file is acknowledged. Raises RuntimeError when one is not."""
    command = ["storescu", "-q", *_secure(certificates), "--max-send-pdu", str(PDU_BYTES)]
    command += ["-aet", "SENDER", "-aec", AE_TITLE, "127.0.0.1", str(port)]
    started = monotonic()
    senders = [
        subprocess.Popen([*command, *map(str, files[part::associations])]) for part in range(associations)
    ]
    codes = [sender.wait(timeout=SEND_LIMIT_S) for sender in senders]
    seconds = monotonic() - started
    if any(codes):
        raise RuntimeError(f"storescu failed: {codes}")
    return seconds


def measure(
    server: Server, files: list[Path], associations: int, certificates: Certificates | None = None
) -> tuple[float, float]:
    """Images per second, and the server's highest resident memory, MiB; by TLS with certificates."""
    folder = Path(tempfile.mkdtemp(prefix="bench-receive-"))
    try:
        with _running(server, folder, certificates) as (process, port):
            seconds = send(files, port, associations, certificates)
            memory = sum(_peak_bytes(part.pid) for part in (process, *process.children(recursive=True)))
        stored = sum(path.is_file() for path in folder.glob(server.stored))
        if stored < len(files):
            raise RuntimeError(f"{server.name} holds {stored} of {len(files)} images")
        return len(files) / seconds, memory / 2**20
    finally:
        shutil.rmtree(folder)


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    # one that has just ended has no such line
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def run(*, images: int = 400, repeats: int = 3) -> list[dict[str, Any]]:
    """One row for each server, number of associations and transport, medians over `repeats`."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:
        files = make_images(Path(folder), images)
        secure = make_certificates(Path(folder) / "certificates")
        for certificates in (None, secure):
            for associations in (1, 4, 20):
                rows += _side_by_side(files, associations, certificates, repeats=repeats)
    return rows


def _side_by_side(
    files: list[Path], associations: int, certificates: Certificates | None, *, repeats: int
) -> list[dict[str, Any]]:
    servers = [
        each
        for each in SERVERS
        if shutil.which(each.program) and (each.tls or not certificates) and associations <= each.most
    ]
    seen: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
    for _ in range(repeats):
        for server in servers:
            seen[server.name].append(measure(server, files, associations, certificates))
    own = median(rate for rate, _ in seen[SERVERS[0].name])
    rows = []
    for server in servers:
        rates = [rate for rate, _ in seen[server.name]]
        rows.append(
            {
                "server": server.name,
                "fsync": server.durable,
                "TLS": certificates is not None,
                "associations": associations,
                "images_per_s": round(median(rates), 1),
                "lowest": round(min(rates), 1),
                "highest": round(max(rates), 1),
                "ours_over_it": round(own / median(rates), 2),
                "rss_mib": round(median(memory for _, memory in seen[server.name])),
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows = run(images=arguments.images, repeats=arguments.repeats)
    table = Table(*rows[0], title=f"Receiving {arguments.images} CT images of 512²")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
