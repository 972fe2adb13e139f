"""What watchers are told (PS3.4 Table CC.2.4-1), as the DICOM JSON model that the store keeps."""

from __future__ import annotations

from enum import IntEnum

from pydicom.dataset import Dataset

from ..store.ups_tables import ProcedureStep
from .attributes import PRIORITIES, state_words
from .model_json import Json, kept, to_json
from .step_attributes import readiness


class EventType(IntEnum):
    """Event Type ID."""

    #: UPS State Report
    STATE_REPORT = 1
    #: UPS Cancel Requested
    CANCEL_REQUESTED = 2
    #: UPS Progress Report
    PROGRESS_REPORT = 3


#: what an asker for cancellation may say, and watchers are told as it came
_REASONS = (
    "ReasonForCancellation",
    "ProcedureStepDiscontinuationReasonCodeSequence",
    "ContactURI",
    "ContactDisplayName",
)


def state_report(step: ProcedureStep, reasons: Json | None = None) -> Json:
    """The state of a step, its readiness, and beyond the standard its priority and label.

    The standard has no event for a new priority: it is a state report, the state being as before.
    """
    ds = Dataset()
    ds.ProcedureStepState = step.state
    ds.InputReadinessState = readiness(step.study)
    ds.ScheduledProcedureStepPriority = PRIORITIES[step.study.rank]
    ds.ProcedureStepLabel = state_words(step.study)
    return (reasons or {}) | to_json(ds)


def cancel_requested(by: str, reasons: Json) -> Json:
    """Somebody wants a step canceled that a reader has claimed."""
    ds = Dataset()
    ds.RequestingAE = by
    return reasons | to_json(ds)


def reasons_of(information: Dataset) -> Json:
    """Why a step is not wanted any more, as the asker says. Raises HeaderError."""
    return kept(information, _REASONS)


def given_up() -> Json:
    """Why a step was canceled that nobody asked to cancel."""
    ds = Dataset()
    ds.ReasonForCancellation = "The reader who claimed this step has been silent for too long."
    return to_json(ds)


def progress_report(performed: Json) -> Json:
    """How far a reader is."""
    tag = "00741002"  # Procedure Step Progress Information Sequence
    return {tag: performed[tag]}
