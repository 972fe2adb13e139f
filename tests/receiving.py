"""A receiver in this process, and scanners that send to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from sqlalchemy import func, select

from ich_triage.dicom.requestor import in_step
from ich_triage.domain.commitment import CommitmentResult
from ich_triage.intake.receiver import Receiver
from ich_triage.settings import Settings
from ich_triage.store.database import Database
from ich_triage.store.tables import Instance
from tests.files import files_below

AE_TITLE = "ICH_TEST"


def settings(folder: Path, **sections: Any) -> Settings:
    """Loopback, ports that the system chooses, a spool in `folder`, no reserve; `sections` override."""
    dicom = {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": 0, "tls_port": 0} | sections.pop("dicom", {})
    spool = {"path": folder / "spool", "reserve_bytes": 0} | sections.pop("spool", {})
    return Settings(dicom=dicom, spool=spool, **sections)  # type: ignore[arg-type]


@contextmanager
def receiving(
    database: Database,
    folder: Path,
    *,
    on_commitment: Callable[[CommitmentResult], None] = lambda _result: None,
    **sections: Any,
) -> Iterator[Receiver]:
    """A running receiver."""
    receiver = Receiver(settings(folder, **sections), database, on_commitment=on_commitment)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@contextmanager
def associated(
    port: int,
    contexts: Sequence[tuple[str, str | list[str]]],
    *,
    calling: str = "SCANNER",
    called: str = AE_TITLE,
    address: str = "127.0.0.1",
) -> Iterator[Association]:
    """An association of a pynetdicom scanner at `address`, released at the end; it may have been rejected."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    proposed = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    association = ae.associate(
        "127.0.0.1", port, contexts=proposed, ae_title=called, bind_address=(address, 0)
    )
    with in_step(association):
        yield association


def send(port: int, objects: Sequence[Dataset], *, calling: str = "SCANNER", priority: int = 0) -> list[int]:
    """C-STORE each over one association; returns the statuses."""
    kinds = list(dict.fromkeys((data.SOPClassUID, data.file_meta.TransferSyntaxUID) for data in objects))
    with associated(port, kinds, calling=calling) as association:
        assert association.is_established
        return [association.send_c_store(data, priority=priority).Status for data in objects]


def count_indexed(database: Database) -> int:
    """Rows in the index."""
    with database.read() as session:
        return session.scalar(select(func.count(Instance.id))) or 0


def stored(folder: Path) -> dict[str, Path]:
    """SOP Instance UID → file, of everything that lies in a study's folder."""
    files = (folder / "spool" / "studies").glob("*/*.dcm")
    return {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for file in files}


def left_behind(folder: Path) -> list[Path]:
    """What lies in the spool outside the studies' folders: nothing, once all is done."""
    spool = folder / "spool"
    unfinished = [path for path in files_below(spool / "incoming") if not path.name.startswith(".")]
    return unfinished + list((spool / "inbox").iterdir())
