"""A scanner that asks for storage commitment, and waits for the result on the association that asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from ich_triage.dicom.commitment import read_result
from ich_triage.dicom.requestor import in_step
from ich_triage.domain.commitment import CommitmentResult
from tests.receiving import AE_TITLE

Results = SimpleQueue[tuple[int, CommitmentResult]]


@contextmanager
def committing(
    port: int, *, calling: str = "SCANNER", called: str = AE_TITLE
) -> Iterator[tuple[Association, Results]]:
    """An association for objects and requests, and what comes back on it: Event Type ID and result."""
    results: Results = SimpleQueue()

    def record(event: evt.Event) -> tuple[int, None]:
        results.put((int(event.event_type), read_result(event.event_information)))
        return 0x0000, None

    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate(
        "127.0.0.1", port, ae_title=called, evt_handlers=[(evt.EVT_N_EVENT_REPORT, record)]
    )
    with in_step(association):
        yield association, results


def ask(
    association: Association,
    transaction_uid: str,
    objects: Sequence[tuple[str, str]],
    *,
    action: int = 1,
    instance: str = StorageCommitmentPushModelInstance,
) -> int:
    """N-ACTION for these (SOP Class UID, SOP Instance UID); returns the status, FFFF where none came."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [reference(*each) for each in objects]
    answer, _ = association.send_n_action(information, action, StorageCommitmentPushModel, instance)
    return int(answer.get("Status", 0xFFFF))


def reference(sop_class: str, uid: str) -> Dataset:
    """One item of Referenced SOP Sequence."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def references(objects: Sequence[Any]) -> list[tuple[str, str]]:
    """What a request names them by."""
    return [(str(each.SOPClassUID), str(each.SOPInstanceUID)) for each in objects]
