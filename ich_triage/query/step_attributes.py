"""A procedure step as DICOM has it (PS3.3 Table B.26.2-1, PS3.4 Table CC.2.5-3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag
from pynetdicom.sop_class import UnifiedProcedureStepPush  # type: ignore[attr-defined]

from ..dicom.codes import INTERPRETATION
from ..dicom.private import Private
from ..dicom.values import date_time, identifier, words
from ..domain.labels import ABBREVIATIONS, Subtype
from ..store.tables import Revision, Study
from ..store.ups_tables import ProcedureStep
from .attributes import (
    PRIORITIES,
    add_analysis,
    add_state,
    label,
    patient_and_study,
    state_words,
    tags,
)
from .model_json import from_json

#: (SOP Class UID, SOP Instance UID)
Reference = tuple[str, str]

WORKLIST_LABEL = "ICH Triage reading list"
#: what a reader sets; everything else of a step is ours
PERFORMED = ("ProcedureStepProgressInformationSequence", "UnifiedProcedureStepPerformedProcedureSequence")
#: Type 2 of the step: there, and empty
_EMPTY_SEQUENCES = (
    "ScheduledProcessingParametersSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "AdmittingDiagnosesCodeSequence",
    *PERFORMED,
)
_EMPTY_TEXTS = ("PatientBirthDate", "PatientSex", "AdmissionID", "AdmittingDiagnosesDescription")
_PRIVATE = tuple(each for each in Private if each not in (Private.SERIES_ROLE, Private.SERIES_REASON))

INPUT_KEYS = tags("InputInformationSequence")
ANALYSIS_KEYS = tags("CommentsOnTheScheduledProcedureStep") | {
    Private.SUBTYPES.tag,
    Private.PROBABILITY.tag,
    Private.LABEL.tag,
}
#: every attribute of a step; Transaction UID is the reader's key and none of them
STEP_KEYS: Collection[BaseTag] = (
    tags(
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "ScheduledProcedureStepPriority",
        "ScheduledProcedureStepModificationDateTime",
        "ScheduledProcedureStepStartDateTime",
        "ProcedureStepLabel",
        "WorklistLabel",
        "ScheduledWorkitemCodeSequence",
        "InputReadinessState",
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "ReferencedRequestSequence",
        "ProcedureStepState",
        *_EMPTY_SEQUENCES,
        *_EMPTY_TEXTS,
    )
    | INPUT_KEYS
    | ANALYSIS_KEYS
    | {each.tag for each in _PRIVATE}
)


def step_attributes(step: ProcedureStep) -> Dataset:
    """All of a step that its own row and its study's tell."""
    study = step.study
    ds = patient_and_study(study)
    for keyword in (*_EMPTY_SEQUENCES, *_EMPTY_TEXTS):
        setattr(ds, keyword, [] if keyword in _EMPTY_SEQUENCES else "")
    ds.SOPClassUID = UnifiedProcedureStepPush
    ds.SOPInstanceUID = step.sop_instance_uid
    ds.ProcedureStepState = step.state
    ds.ScheduledProcedureStepPriority = PRIORITIES[study.rank]
    ds.ScheduledProcedureStepModificationDateTime = date_time(step.changed_at)
    ds.ScheduledProcedureStepStartDateTime = date_time(study.first_slice_at)
    ds.ProcedureStepLabel = state_words(study)
    ds.WorklistLabel = WORKLIST_LABEL
    ds.ScheduledWorkitemCodeSequence = [coded(INTERPRETATION)]
    ds.InputReadinessState = readiness(study)
    ds.ReferencedRequestSequence = [_request(study)]
    add_state(ds, study)
    for element in from_json(step.performed):
        ds[element.tag] = element
    return ds


def readiness(study: Study) -> str:
    """Input Readiness State (0040,4041): are all images there?"""
    return "READY" if study.assembling_since is None else "INCOMPLETE"


def add_words(ds: Dataset, study: Study, answer: Revision | None) -> None:
    """What the model said, in our private elements and as a comment that can be shown alone."""
    add_analysis(ds, answer)
    analysis = (answer.analysis if answer else None) or {}
    found = (ABBREVIATIONS[Subtype(each["subtype"])] for each in analysis.get("findings", ()))
    subtypes = ", ".join(dict.fromkeys(found))
    parts = (
        f"{state_words(study)}.",
        f"Suspected: {subtypes}." if subtypes else "",
        f"Reason: {study.reason}." if study.reason else "",
        label(answer),
    )
    ds.CommentsOnTheScheduledProcedureStep = words(" ".join(filter(None, parts)), limit=1024)


def add_inputs(
    ds: Dataset, study: Study, series: Sequence[tuple[str, Sequence[Reference]]], *, archive: str
) -> None:
    """Which images, and which report, there are to read: (Series Instance UID, its objects) each."""
    ds.InputInformationSequence = [
        _input(study, uid, references, archive) for uid, references in series if references
    ]


def coded(code: Code) -> Dataset:
    """A code as an item (PS3.3 Table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    return item


def _request(study: Study) -> Dataset:
    """Referenced Request Sequence (PS3.3 Table C.30.2-1); what the images do not tell is empty."""
    item = Dataset()
    item.StudyInstanceUID = study.study_instance_uid
    item.AccessionNumber = identifier(study.accession_number)
    item.RequestedProcedureDescription = words(study.study_description)
    item.RequestedProcedureID = item.PlacerOrderNumberImagingServiceRequest = ""
    item.FillerOrderNumberImagingServiceRequest = item.RequestingService = ""
    item.RequestedProcedureCodeSequence = []
    return item


def _input(study: Study, series_uid: str, references: Sequence[Reference], archive: str) -> Dataset:
    """Referenced Instances and Access (PS3.3 Table 10-3b)."""
    item = Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID = study.study_instance_uid
    item.SeriesInstanceUID = series_uid
    item.ReferencedSOPSequence = DicomSequence([_reference(*each) for each in references])
    if archive:
        where = Dataset()
        where.RetrieveAETitle = archive
        item.DICOMRetrievalSequence = [where]
    return item


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
