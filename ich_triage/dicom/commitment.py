"""Storage commitment on the wire: its requests and results as data sets (PS3.4 section J.3)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from ..domain.commitment import CommitmentRequest, CommitmentResult, Reason, Verdict
from ..domain.uid import is_uid
from ..errors import DicomReadError

#: objects of one request at most: one head study has a thousand at the outside
MOST_OBJECTS = 10_000
#: Event Type ID (PS3.4 Table J.3-2): all is committed to; there are failures
_SUCCESSFUL, _FAILURES = 1, 2


def read_request(information: Dataset) -> CommitmentRequest:
    """The Action Information of a request (PS3.4 Table J.3-1). Raises DicomReadError."""
    items = information.get("ReferencedSOPSequence") or ()
    if len(items) > MOST_OBJECTS:
        raise DicomReadError(f"more than {MOST_OBJECTS} objects in one request")
    objects = dict.fromkeys(
        (str(item.get("ReferencedSOPClassUID")), str(item.get("ReferencedSOPInstanceUID"))) for item in items
    )
    transaction_uid = str(information.get("TransactionUID"))
    if not is_uid(transaction_uid) or not objects:
        raise DicomReadError("TransactionUID is no UID, or ReferencedSOPSequence is empty")
    if not all(is_uid(uid) for pair in objects for uid in pair):
        raise DicomReadError("a referenced SOP Class UID or SOP Instance UID is no UID")
    return CommitmentRequest(transaction_uid=transaction_uid, objects=tuple(objects))


def read_result(information: Dataset) -> CommitmentResult:
    """The Event Information of a result (PS3.4 Table J.3-2). Raises AttributeError."""
    return CommitmentResult(
        transaction_uid=str(information.TransactionUID),
        committed=frozenset(
            str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()
        ),
        failed={
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or Reason.PROCESSING_FAILURE)
            for item in information.get("FailedSOPSequence") or ()
        },
    )


def event_information(transaction_uid: str, verdicts: Sequence[Verdict]) -> tuple[int, Dataset]:
    """Event Type ID and Event Information of our result (PS3.4 Table J.3-2)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    committed = [_item(each) for each in verdicts if each.reason is None]
    failed = [_item(each) for each in verdicts if each.reason is not None]
    if committed:
        ds.ReferencedSOPSequence = committed
    if failed:
        ds.FailedSOPSequence = failed
    return _FAILURES if failed else _SUCCESSFUL, ds


def _item(verdict: Verdict) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = verdict.sop_class_uid
    item.ReferencedSOPInstanceUID = verdict.sop_instance_uid
    if verdict.reason is not None:
        item.FailureReason = int(verdict.reason)
    return item
