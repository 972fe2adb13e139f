"""Every code that our objects carry, with its meaning and where it is defined.

SNOMED CT codes are those that PS3.16 uses, as carried by pydicom's concept tables. It has none for the
subtypes of intracranial haemorrhage, for epidural or subdural space, or for triage: those are codes of
`SCHEME`, a private scheme that each object declares (PS3.3 section C.12.1.1, Coding Scheme
Identification Sequence).
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from ..domain.finding import Side
from ..domain.labels import Subtype
from ..domain.states import StudyState
from .uids import named_uid

#: designator of our private scheme; "99" marks it as private (PS3.16 section 8.2)
SCHEME = "99ICHTRIAGE"
SCHEME_NAME = "ICH Triage codes"
SCHEME_ORGANIZATION = "ICH Triage"
SCHEME_UID = named_uid("coding-scheme")

# What the report is about
CT_OF_HEAD = Code("303653007", "SCT", "Computed tomography of head")  # clinical section 7
INTRACRANIAL_HEMORRHAGE = Code("1386000", "SCT", "Intracranial hemorrhage")
PRESENT = Code("52101004", "SCT", "Present")  # PS3.16 CID 240
PRESENCE_UNDETERMINED = Code("121059", "DCM", "Presence Undetermined")  # PS3.16 Annex D

# Outcome of the analysis, PS3.16 CID 6042 Status of Results
SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
SUCCEEDED = Code("111222", "DCM", "Succeeded")
FAILED = Code("111224", "DCM", "Failed")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")
ANALYSIS_STATUS = {
    StudyState.FLAGGED: SUCCEEDED,
    StudyState.NOT_FLAGGED: SUCCEEDED,
    StudyState.NOT_ANALYSED: NOT_ATTEMPTED,
    StudyState.FAILED: FAILED,
}

# Outcome for the reading list, private
TRIAGE_RESULT = Code("TRIAGE", SCHEME, "Triage result")
TRIAGE_RESULTS = {
    StudyState.FLAGGED: Code("FLAGGED", SCHEME, "Flagged: intracranial hemorrhage suspected"),
    StudyState.NOT_FLAGGED: Code("NOT_FLAGGED", SCHEME, "Not flagged: this is not a negative result"),
    StudyState.NOT_ANALYSED: Code("NOT_ANALYSED", SCHEME, "Not analysed: no statement about hemorrhage"),
    StudyState.FAILED: Code("FAILED", SCHEME, "Analysis failed: no statement about hemorrhage"),
}

# Subtypes, private: PS3.16 has no codes for them
SUBTYPE = Code("SUBTYPE", SCHEME, "Hemorrhage subtype")
SUBTYPES = {
    Subtype.EPIDURAL: Code("EDH", SCHEME, "Epidural hemorrhage"),
    Subtype.INTRAPARENCHYMAL: Code("IPH", SCHEME, "Intraparenchymal hemorrhage"),
    Subtype.INTRAVENTRICULAR: Code("IVH", SCHEME, "Intraventricular hemorrhage"),
    Subtype.SUBARACHNOID: Code("SAH", SCHEME, "Subarachnoid hemorrhage"),
    Subtype.SUBDURAL: Code("SDH", SCHEME, "Subdural hemorrhage"),
}
SUBTYPE_PROBABILITIES = {
    subtype: Code(f"P_{code.value}", SCHEME, f"Probability of {code.meaning.lower()}")
    for subtype, code in SUBTYPES.items()
}

# Finding sites, PS3.16 CIDs 4 and 7140
BRAIN = Code("12738006", "SCT", "Brain")
CRANIAL_CAVITY = Code("1101003", "SCT", "Cranial Cavity")
FINDING_SITES = {
    Subtype.EPIDURAL: CRANIAL_CAVITY,
    Subtype.INTRAPARENCHYMAL: BRAIN,
    Subtype.INTRAVENTRICULAR: Code("35764002", "SCT", "Brain ventricle"),
    Subtype.SUBARACHNOID: Code("33930006", "SCT", "Cranial Subarachnoid Space"),
    Subtype.SUBDURAL: CRANIAL_CAVITY,
}
#: PS3.16 CID 244 Laterality
LATERALITIES = {
    Side.LEFT: Code("7771000", "SCT", "Left"),
    Side.RIGHT: Code("24028007", "SCT", "Right"),
    Side.BILATERAL: Code("51440002", "SCT", "Bilateral"),
}
#: PS3.16 CID 5: a midline finding has no laterality, but a topographical modifier
MIDLINE = Code("261129000", "SCT", "Midline")

# Measurements, PS3.16 CID 7469 and Annex D
PROBABILITY = Code("122157", "DCM", "Probability")
VOLUME = Code("118565006", "SCT", "Volume")
ABC2 = Code("ABC2", SCHEME, "ABC/2, half the product of three diameters")
CENTER_OF_MASS = Code("128138", "DCM", "Center of Mass")  # PS3.16 CID 219
NO_UNITS = Code("1", "UCUM", "no units")
MILLILITER = Code("mL", "UCUM", "mL")
MILLIMETER = Code("mm", "UCUM", "mm")
PIXELS = Code("{pixels}", "UCUM", "pixels")

# Parts of TID 1500, 1600 and 1602
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")  # CID 7021
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")
KEY_IMAGES = Code("121180", "DCM", "Key Images")
COMMENT = Code("121106", "DCM", "Comment")
DEVICE = Code("121007", "DCM", "Device")  # CID 270
ENGLISH = Code("en", "RFC5646", "English")  # CID 5000
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure Reported")
MODALITY = Code("121139", "DCM", "Modality")
COMPUTED_TOMOGRAPHY = Code("CT", "DCM", "Computed Tomography")  # CID 29
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
PIXEL_DATA_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")

#: PS3.16 CID 7202 Source Image Purposes of Reference
SOURCE_IMAGE_FOR_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")

# Procedure steps of readers
INTERPRETATION = Code("110005", "DCM", "Interpretation")  # CID 9231
DISCONTINUED = Code("110513", "DCM", "Discontinued for unspecified reason")  # CID 9300
