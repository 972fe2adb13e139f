"""Which attributes questions at each level may ask for, and what our answers say in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from ..dicom.contexts import CT_IMAGE_CLASSES
from ..dicom.private import Private, put
from ..dicom.values import date, identifier, person_name, words
from ..domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ..domain.labels import ABBREVIATIONS, Subtype
from ..domain.priority import LEVELS
from ..domain.states import StudyState
from ..store.study_query import SeriesRow
from ..store.tables import Revision, Study

#: Unicode in UTF-8 (PS3.3 Table C.12-5)
UTF_8 = "ISO_IR 192"

#: SOP class → Modality (0008,0060), where the class settles it (PS3.3 section A)
MODALITIES: Mapping[str, str] = {
    **{str(each): "CT" for each in CT_IMAGE_CLASSES},
    uid.MRImageStorage: "MR",
    uid.EnhancedMRImageStorage: "MR",
    uid.PositronEmissionTomographyImageStorage: "PT",
    uid.EnhancedPETImageStorage: "PT",
    uid.BasicTextSRStorage: "SR",
    uid.EnhancedSRStorage: "SR",
    uid.ComprehensiveSRStorage: "SR",
    uid.Comprehensive3DSRStorage: "SR",
    uid.XRayRadiationDoseSRStorage: "SR",
    uid.EnhancedXRayRadiationDoseSRStorage: "SR",
    uid.KeyObjectSelectionDocumentStorage: "KO",
    uid.GrayscaleSoftcopyPresentationStateStorage: "PR",
    uid.SegmentationStorage: "SEG",
    uid.EncapsulatedPDFStorage: "DOC",
}

#: place on the list → Scheduled Procedure Step Priority (PS3.3 Table C.30.1-1)
PRIORITIES: Mapping[int, str] = {rank: level.value for rank, level in LEVELS.items()}

_COUNTED = ("ModalitiesInStudy", "SOPClassesInStudy", "NumberOfStudyRelatedSeries")
_PRIVATE_STUDY = (
    Private.TRIAGE_STATE,
    Private.REASON_CODE,
    Private.REASON,
    Private.READING_RANK,
    Private.URGENT,
    Private.SUBTYPES,
    Private.PROBABILITY,
    Private.LABEL,
)


def tags(*keywords: str) -> frozenset[BaseTag]:
    """Tags of keywords."""
    return frozenset(BaseTag(tag_for_keyword(keyword) or 0) for keyword in keywords)


#: what a question may only ask for at its level
STUDY_KEYS = tags(
    "QueryRetrieveLevel",
    "RetrieveAETitle",
    "StudyDate",
    "AccessionNumber",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "StudyInstanceUID",
    "NumberOfStudyRelatedInstances",
    "StudyPriorityID",
    *_COUNTED,
) | {each.tag for each in _PRIVATE_STUDY}
SERIES_KEYS = tags(
    "QueryRetrieveLevel",
    "RetrieveAETitle",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "NumberOfSeriesRelatedInstances",
) | {Private.SERIES_ROLE.tag, Private.SERIES_REASON.tag}
#: what needs a look at the objects of a study
COUNTED_KEYS = tags(*_COUNTED)
#: what needs a look at its analysis
ANALYSIS_KEYS = frozenset({Private.SUBTYPES.tag, Private.PROBABILITY.tag, Private.LABEL.tag})


def patient_and_study(study: Study) -> Dataset:
    """What every answer about a study begins with. A value that would not be right in DICOM is empty."""
    ds = Dataset()
    ds.SpecificCharacterSet = UTF_8
    ds.StudyInstanceUID = study.study_instance_uid
    ds.PatientName = person_name(study.patient_name)
    ds.PatientID = identifier(study.patient_id)
    return ds


def study_attributes(study: Study, *, retrieve: str) -> Dataset:
    """Everything at level STUDY that its row tells; `retrieve`: AE title of the archive."""
    ds = patient_and_study(study)
    ds.QueryRetrieveLevel = "STUDY"
    ds.RetrieveAETitle = retrieve
    ds.AccessionNumber = identifier(study.accession_number)
    ds.StudyDate = date(study.study_date)
    ds.StudyDescription = words(study.study_description)
    ds.NumberOfStudyRelatedInstances = study.instance_count
    # retired, but what lists that know no UPS read: its values are HIGH, MED and LOW
    ds.StudyPriorityID = PRIORITIES[study.rank].removesuffix("IUM")
    add_state(ds, study)
    return ds


def add_state(ds: Dataset, study: Study) -> None:
    """Where triage stands, in our private elements."""
    put(ds, Private.TRIAGE_STATE, study.state.upper())
    put(ds, Private.REASON_CODE, (study.reason_code or "").upper())
    put(ds, Private.REASON, words(study.reason or "", limit=1024))
    put(ds, Private.READING_RANK, study.rank)
    put(ds, Private.URGENT, "YES" if study.stat else "NO")


def add_counted(ds: Dataset, series: Iterable[SeriesRow]) -> None:
    """What the objects of the study tell."""
    every = list(series)
    classes = sorted({each for row in every for each in row.sop_classes})
    ds.SOPClassesInStudy = classes
    ds.ModalitiesInStudy = sorted({MODALITIES[each] for each in classes if each in MODALITIES})
    ds.NumberOfStudyRelatedSeries = len(every)


def add_analysis(ds: Dataset, answer: Revision | None) -> None:
    """What the model said; empty where it said nothing, and the label in any case."""
    analysis: dict[str, Any] = (answer.analysis if answer else None) or {}
    found = [ABBREVIATIONS[Subtype(each["subtype"])] for each in analysis.get("findings", ())]
    put(ds, Private.SUBTYPES, list(dict.fromkeys(found)))
    put(ds, Private.PROBABILITY, f"{analysis['probabilities'][0]:.4f}" if analysis else "")
    put(ds, Private.LABEL, label(answer))


def label(answer: Revision | None) -> str:
    """The honest label, and the synthetic stamp where the answer carries it."""
    analysis = answer.analysis if answer else None
    synthetic = analysis is not None and analysis["package"]["synthetic"]
    return f"{PRIORITISATION_ONLY} {SYNTHETIC}" if synthetic else PRIORITISATION_ONLY


def series_attributes(
    study: Study, row: SeriesRow, selection: Mapping[str, Any], *, retrieve: str
) -> Dataset:
    """Everything at level SERIES; description and number only of series that the selection has looked at."""
    ds = Dataset()
    ds.SpecificCharacterSet = UTF_8
    ds.QueryRetrieveLevel = "SERIES"
    ds.RetrieveAETitle = retrieve
    ds.StudyInstanceUID = study.study_instance_uid
    ds.SeriesInstanceUID = row.series_instance_uid
    modalities = {MODALITIES[each] for each in row.sop_classes if each in MODALITIES}
    ds.Modality = modalities.pop() if len(modalities) == 1 else ""
    ds.NumberOfSeriesRelatedInstances = row.instance_count
    role, known = _role(row.series_instance_uid, selection)
    ds.SeriesDescription = words(known.get("description") or "")
    ds.SeriesNumber = known.get("number")
    put(ds, Private.SERIES_ROLE, role)
    put(ds, Private.SERIES_REASON, words(known.get("reason") or "", limit=1024))
    return ds


def _role(series_instance_uid: str, selection: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    chosen = selection.get("chosen") or {}
    if chosen.get("series_instance_uid") == series_instance_uid:
        return "CHOSEN", chosen
    for each in selection.get("rejected") or ():
        if each.get("series_instance_uid") == series_instance_uid:
            return "NOT_CHOSEN", each
    return "UNKNOWN", {}


def state_words(study: Study) -> str:
    """The state of a study in words that can be shown alone, at most 64 characters."""
    return _WORDS[StudyState(study.state)]


_WORDS: Mapping[StudyState, str] = {
    StudyState.FLAGGED: "Read first: intracranial haemorrhage suspected",
    StudyState.NOT_FLAGGED: "Read CT head: not flagged, which is not negative",
    StudyState.NOT_ANALYSED: "Read CT head: NOT ANALYSED, no statement on haemorrhage",
    StudyState.FAILED: "Read CT head: ANALYSIS FAILED, no statement on haemorrhage",
    StudyState.RECEIVING: "Read CT head: still being received, not analysed yet",
    StudyState.IN_PROGRESS: "Read CT head: analysis under way, no result yet",
}
