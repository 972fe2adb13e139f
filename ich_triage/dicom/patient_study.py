"""Carry a study's patient and study attributes over to an object of ours, exactly as they came."""

from __future__ import annotations

import struct
from copy import deepcopy

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

#: Patient, Clinical Trial Subject, General Study, Patient Study and Clinical Trial Study modules
#: (PS3.3 Tables C.7-1, C.7-2b, C.7-3, C.7-4a, C.7-4b), and what their text and times depend on.
_KEYWORDS = """
SpecificCharacterSet TimezoneOffsetFromUTC
PatientName PatientID TypeOfPatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence
PatientBirthDate PatientSex PatientBirthTime PatientBirthDateInAlternativeCalendar
PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar QualityControlSubject
ReferencedPatientPhotoSequence ReferencedPatientSequence OtherPatientIDs OtherPatientIDsSequence
OtherPatientNames EthnicGroup PatientComments PatientSpeciesDescription PatientSpeciesCodeSequence
PatientBreedDescription PatientBreedCodeSequence BreedRegistrationSequence StrainDescription
ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization
PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID
ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber
ClinicalTrialTimePointID ClinicalTrialTimePointDescription ConsentForClinicalTrialUseSequence
StudyInstanceUID StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence StudyID
StudyDescription ReferringPhysicianName ReferringPhysicianIdentificationSequence
ConsultingPhysicianName PhysiciansOfRecord NameOfPhysiciansReadingStudy
RequestingService RequestingServiceCodeSequence ReferencedStudySequence ProcedureCodeSequence
ReasonForPerformedProcedureCodeSequence
AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientWeight
PatientBodyMassIndex MedicalAlerts Allergies SmokingStatus PregnancyStatus LastMenstrualDate
PatientState Occupation AdditionalPatientHistory AdmissionID IssuerOfAdmissionIDSequence
ServiceEpisodeID ServiceEpisodeDescription PatientSexNeutered
""".split()  # noqa: SIM905

#: Type 2 of the Patient and General Study modules: present even where the source lacks them
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)

#: value representations whose bytes differ between transfer syntaxes
_DEPENDS_ON_ENCODING = ("SQ", "US")
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, EOFError, struct.error)


def copy_patient_study(source: Dataset, target: Dataset) -> None:
    """Give `target` the patient and study attributes of `source`.

    Values are copied as bytes where the source was read from a file, so neither an invalid value nor an
    unknown character set is altered or refused. What is Type 2 and missing becomes empty.
    """
    for keyword in _KEYWORDS:
        tag = BaseTag(tag_for_keyword(keyword) or 0)
        element = _element(source, tag) if tag in source else None
        if element is not None:
            target[tag] = element
    for keyword in _TYPE_2:
        if keyword not in target:
            setattr(target, keyword, None)
    # so that pydicom writes these bytes as they are instead of decoding and encoding them
    declared = "SpecificCharacterSet" in target
    encodings = convert_encodings(target.SpecificCharacterSet or "") if declared else default_encoding
    target.set_original_encoding(False, True, encodings)


def _element(source: Dataset, tag: BaseTag) -> DataElement | RawDataElement | None:
    """The element as it came; None for an optional one whose bytes cannot be understood."""
    element = source.get_item(tag)
    vr = dictionary_VR(tag)
    if vr in _DEPENDS_ON_ENCODING or not isinstance(element, RawDataElement):
        try:
            return deepcopy(source[tag])
        except _MALFORMED:
            return None
    value = bytes(element.value or b"")
    value += b" " * (len(value) % 2)
    return element._replace(
        VR=vr, value=value, length=len(value), is_implicit_VR=False, is_little_endian=True
    )
