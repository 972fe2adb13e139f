"""What a reader sets of a step, and what a final state needs (PS3.4 Table CC.2.5-3).

We are strict about who may set it and tolerant in what is left out: a reader that only says "done" is
believed, and what the final state needs is filled in from what we know.
"""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code

from ..dicom.codes import DISCONTINUED, INTERPRETATION, SCHEME
from ..dicom.values import date_time
from ..domain.step import StepState
from ..store.ups_tables import ProcedureStep
from .attributes import tags
from .model_json import Json, from_json, kept, to_json
from .step_attributes import PERFORMED, coded

_PROGRESS, _PROCEDURE = PERFORMED
#: these stand in an N-SET without being set
_NEEDED = tags("SpecificCharacterSet", "TransactionUID")


def set_by_reader(modifications: Dataset) -> tuple[Json, bool]:
    """What of an N-SET is the reader's to set, and whether there is anything else in it.

    A sequence replaces the one before as a whole (PS3.7 section 10.1.3). Private elements are left out.
    Raises HeaderError.
    """
    others = modifications.keys() - tags(*PERFORMED) - _NEEDED
    return kept(modifications, PERFORMED), bool(others)


def finished(step: ProcedureStep, state: StepState, *, now: datetime, reasons: Json | None = None) -> Json:
    """What the reader has set, with what `state` needs and is missing."""
    performed = from_json(step.performed)
    if state is StepState.COMPLETED:
        _complete(_item(performed, _PROCEDURE), step, now)
    else:
        _cancel(_item(performed, _PROGRESS), now, reasons or {})
    return to_json(performed)


def _item(ds: Dataset, keyword: str) -> Dataset:
    """The only item of a sequence, which is made where it is missing."""
    if not ds.get(keyword):
        setattr(ds, keyword, DicomSequence([Dataset()]))
    item: Dataset = ds[keyword].value[0]
    return item


def _complete(item: Dataset, step: ProcedureStep, now: datetime) -> None:
    station = Code(step.performer or "UNKNOWN", SCHEME, f"AE {step.performer or 'unknown'}")
    _fill(item, "PerformedStationNameCodeSequence", [coded(station)])
    _fill(item, "PerformedProcedureStepStartDateTime", date_time(step.claimed_at or now))
    _fill(item, "PerformedProcedureStepEndDateTime", date_time(now))
    _fill(item, "PerformedWorkitemCodeSequence", [coded(INTERPRETATION)])
    if "OutputInformationSequence" not in item:  # Type 2: may be empty, since a report may live elsewhere
        item.OutputInformationSequence = []


def _cancel(item: Dataset, now: datetime, reasons: Json) -> None:
    told = from_json(reasons)
    for keyword in ("ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence"):
        if keyword in told and keyword not in item:
            item[keyword] = told[keyword]
    _fill(item, "ProcedureStepCancellationDateTime", date_time(now))
    _fill(item, "ProcedureStepDiscontinuationReasonCodeSequence", [coded(DISCONTINUED)])


def _fill(item: Dataset, keyword: str, value: object) -> None:
    if not item.get(keyword):
        setattr(item, keyword, value)
