"""FHIR R4: each study's triage as a DiagnosticReport (hl7.org/fhir/R4/diagnosticreport.html), read only.

A report is `preliminary`: an algorithm's word for the order of reading, which a radiologist's report
replaces. A study that was not analysed is `cancelled`, which FHIR defines as unavailable because it was not
started or not completed; it has no result, and says that this is no negative one.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from pydicom.sr.coding import Code

from ..dicom import codes
from ..domain.audit import AuditEvent
from ..domain.label import PRIORITISATION_ONLY
from ..domain.labels import SUBTYPES, Subtype
from ..domain.states import ANALYSED_STATES, FINAL_STATES, StudyState
from ..domain.uid import is_uid
from .access import audited
from .api import REFUSALS, Own, Viewer, study_document
from .document import Json
from .refusals import Refused

router = APIRouter(prefix="/api/v1/fhir", tags=["FHIR R4"], responses=REFUSALS)

MEDIA_TYPE = "application/fhir+json"
#: hl7.org/fhir/R4/valueset-diagnostic-report-status.html
_STATUS: dict[StudyState, str] = {
    StudyState.RECEIVING: "registered",
    StudyState.IN_PROGRESS: "registered",
    StudyState.FLAGGED: "preliminary",
    StudyState.NOT_FLAGGED: "preliminary",
    StudyState.NOT_ANALYSED: "cancelled",
    StudyState.FAILED: "cancelled",
}
#: hl7.org/fhir/R4/terminologies-systems.html; ours is the UID of our coding scheme
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    codes.SCHEME: f"urn:oid:{codes.SCHEME_UID}",
}
_RADIOLOGY = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
_ACCESSION = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
    "code": "ACSN",
    "display": "Accession ID",
}
_DOCS: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}, "description": "FHIR R4 DiagnosticReport"}
}


@router.get("/DiagnosticReport/{id}", response_class=Response, responses=_DOCS)
def diagnostic_report(
    request: Request,
    own: Own,
    who: Viewer,
    id: Annotated[str, Path(description="Study Instance UID", max_length=64)],
) -> Response:
    """The triage of one study."""
    if not is_uid(id):
        raise Refused(404, "the id of a DiagnosticReport is a Study Instance UID")
    told = study_document(own, id)
    audited(request, who, AuditEvent.API_READ, study_instance_uid=id)
    return JSONResponse(report(told), media_type=MEDIA_TYPE)


def report(told: Json) -> Json:
    """The DiagnosticReport of a study's document."""
    state = StudyState(told["state"])
    analysis = told["analysis"] if state in ANALYSED_STATES else None
    observations = _observations(analysis) if analysis else []
    ledger = told["ledger"]
    resource = {
        "resourceType": "DiagnosticReport",
        "id": told["study_instance_uid"],
        "contained": observations,
        "identifier": _identifiers(told),
        "status": _STATUS[state],
        "category": [{"coding": [_RADIOLOGY]}],
        "code": _concept(codes.CT_OF_HEAD),
        "subject": _subject(told),
        "effectiveDateTime": ledger["first_slice"],
        "issued": ledger.get("stored") if state in FINAL_STATES else None,
        "result": [{"reference": f"#{each['id']}"} for each in observations],
        "imagingStudy": [{"identifier": _uid_identifier(told["study_instance_uid"])}],
        "conclusion": " ".join(_conclusion(told, state, analysis)),
        "conclusionCode": [_concept(codes.TRIAGE_RESULTS[state])] if state in FINAL_STATES else [],
    }
    return {key: value for key, value in resource.items() if value}  # FHIR has no null and no empty list


def _subject(told: Json) -> Json:
    """By identifier: the patient's resource is the hospital's."""
    identifier = {"identifier": {"value": told["patient_id"]}} if told["patient_id"] else {}
    return {**identifier, "display": told["patient_name"] or "unknown"}


def _conclusion(told: Json, state: StudyState, analysis: Json | None) -> list[str]:
    words = [f"{codes.TRIAGE_RESULTS[state].meaning}."] if state in FINAL_STATES else ["Not analysed yet."]
    if told["reason"] and not analysis:
        words.append(f"{told['reason']['text']}.")
    words.append(PRIORITISATION_ONLY)
    return [*words, analysis["warning"]] if analysis and analysis["warning"] else words


def _identifiers(told: Json) -> list[Json]:
    found = [_uid_identifier(told["study_instance_uid"])]
    if told["accession_number"]:
        found.append({"type": {"coding": [_ACCESSION]}, "value": told["accession_number"]})
    return found


def _uid_identifier(uid: str) -> Json:
    """hl7.org/fhir/R4/imagingstudy.html, section on identifiers."""
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _observations(analysis: Json) -> list[Json]:
    """The probability of each label, then volume and side of each finding."""
    names = {"any": codes.INTRACRANIAL_HEMORRHAGE} | {each.value: codes.SUBTYPES[each] for each in SUBTYPES}
    found = [
        _observation(
            f"p-{label}",
            names[label],
            codes.PROBABILITY,
            _quantity(analysis["probabilities"][label], codes.NO_UNITS),
        )
        for label in names
    ]
    for number, finding in enumerate(analysis["findings"], start=1):
        if finding["volume_ml"] is None:
            continue
        volume = _quantity(finding["volume_ml"], codes.MILLILITER)
        observation = _observation(f"v-{number}", names[finding["subtype"]], codes.VOLUME, volume)
        site = codes.FINDING_SITES[Subtype(finding["subtype"])]
        observation["bodySite"] = _concept(
            site, text=f"{site.meaning}, {finding['side']}" if finding["side"] else None
        )
        found.append(observation)
    return found


def _observation(id: str, of: Code, what: Code, value: Json) -> Json:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "preliminary",
        "code": _concept(of, text=f"{of.meaning}, {what.meaning.lower()}"),
        "method": _concept(what),
        "valueQuantity": value,
    }


def _quantity(value: float, unit: Code) -> Json:
    return {"value": round(value, 4), "unit": unit.meaning, "system": _SYSTEMS["UCUM"], "code": unit.value}


def _concept(code: Code, *, text: str | None = None) -> Json:
    coding = {"system": _SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}
    return {"coding": [coding], "text": text or code.meaning}
