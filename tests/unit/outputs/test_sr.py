"""The structured report: what it says, and what it must never say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from ich_triage.dicom import codes
from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.states import ReasonCode, StudyState
from ich_triage.outputs.report import DocumentReference, Report
from ich_triage.outputs.sr import build_sr
from tests.reports import made_header, made_headers, report_of


def written(report: Report, source: Dataset | None = None) -> bytes:
    """The report as the bytes of a file."""
    buffer = io.BytesIO()
    dcmwrite(buffer, build_sr(report, source or made_header()), enforce_file_format=True)
    return buffer.getvalue()


def items(ds: Dataset) -> Iterator[Dataset]:
    """Every content item below `ds`, depth first."""
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from items(item)


def evaluations(ds: Dataset) -> dict[str, str]:
    """Meaning of each CODE item's name → meaning of its value."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeMeaning
        for item in items(ds)
        if item.ValueType == "CODE"
    }


def texts(ds: Dataset) -> list[str]:
    """Every TEXT item's value."""
    return [item.TextValue for item in items(ds) if item.ValueType == "TEXT"]


@pytest.mark.parametrize("state", [StudyState.FLAGGED, StudyState.NOT_FLAGGED, StudyState.NOT_ANALYSED])
def test_the_same_report_is_the_same_bytes(state: StudyState) -> None:
    """A stage that is repeated after a crash makes byte for byte the same object."""
    report = report_of(made_headers(), state)
    assert written(report) == written(report)


def test_a_flagged_study_says_present_with_its_findings() -> None:
    """Present, the subtype, its side and site, volume with its interval, centroid and key image."""
    ds = build_sr(report_of(made_headers()), made_header())
    told = evaluations(ds)
    assert told["Intracranial hemorrhage"] == "Present"
    assert told["Laterality"] == "Left"
    assert "Topographical modifier" in told
    numbers = {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
        for item in items(ds)
        if item.ValueType == "NUM"
    }
    assert numbers["+, range of upper measurement uncertainty"] == pytest.approx(29.9 - 23.456, abs=0.01)
    assert numbers["-, range of lower measurement uncertainty"] == pytest.approx(23.456 - 18.2, abs=0.01)
    points = [item for item in items(ds) if item.ValueType == "SCOORD3D"]
    assert len(points) == 1
    assert list(points[0].GraphicData) == pytest.approx([48.2, -20.5, 61.8], abs=0.05)
    assert points[0].ReferencedFrameOfReferenceUID == "1.2.3.5"


@pytest.mark.risk("R-001")
def test_not_flagged_is_no_negative() -> None:
    """A study that was not flagged names no finding and nowhere says absent, normal, or none."""
    ds = build_sr(report_of(made_headers(), StudyState.NOT_FLAGGED), made_header())
    told = evaluations(ds)
    assert told["Intracranial hemorrhage"] == "Presence Undetermined"
    assert "Finding" not in told
    assert PRIORITISATION_ONLY in texts(ds)
    words = " ".join([*told.values(), *texts(ds)]).lower()
    assert not [word for word in ("absent", "normal", "no hemorrhage", "no intracranial") if word in words]


@pytest.mark.parametrize("state", [StudyState.NOT_ANALYSED, StudyState.FAILED])
@pytest.mark.risk("R-002")
def test_not_analysed_says_why_and_nothing_else(state: StudyState) -> None:
    """Reason in words; no statement about haemorrhage, no measurement, no image; only partially complete."""
    ds = build_sr(report_of(made_headers(), state, reason="contrast was given"), made_header())
    told = evaluations(ds)
    assert "Intracranial hemorrhage" not in told
    assert not {"Present", "Absent", "Presence Undetermined"} & set(told.values())
    assert told["Summary of Analyses"] in ("Not Attempted", "Failed")
    assert any("contrast was given" in text for text in texts(ds))
    assert {item.ValueType for item in items(ds)}.isdisjoint({"NUM", "IMAGE", "SCOORD3D"})
    assert ds.CompletionFlag == "PARTIAL" and ds.CompletionFlagDescription == "contrast was given"
    assert "CurrentRequestedProcedureEvidenceSequence" not in ds


def test_the_reason_code_stands_in_for_missing_words() -> None:
    """A reason without words is still told."""
    report = report_of(
        made_headers(), StudyState.NOT_ANALYSED, reason=None, reason_code=ReasonCode.NO_CT_IMAGES
    )
    assert "Not analysed: no_ct_images" in texts(build_sr(report, made_header()))


def test_labels_and_flags_of_a_machines_report() -> None:
    """Unverified and preliminary; the honest label and the synthetic stamp are in the text."""
    ds = build_sr(report_of(made_headers()), made_header())
    assert (ds.VerificationFlag, ds.PreliminaryFlag, ds.CompletionFlag) == (
        "UNVERIFIED",
        "PRELIMINARY",
        "COMPLETE",
    )
    assert {PRIORITISATION_ONLY, SYNTHETIC} <= set(texts(ds))
    assert any(text.startswith("weights SHA-256") for text in texts(ds))
    assert "prioritisation only" in ds.SeriesDescription


def test_the_private_scheme_is_declared() -> None:
    """Coding Scheme Identification Sequence explains every private code in the object."""
    ds = build_sr(report_of(made_headers()), made_header())
    declared = {item.CodingSchemeDesignator for item in ds.CodingSchemeIdentificationSequence}
    assert declared == {codes.SCHEME}


def test_a_revision_names_the_report_that_it_replaces() -> None:
    """Predecessor Documents Sequence carries study, series and instance of the earlier report."""
    first = report_of(made_headers())
    second = replace(first, revision=2, predecessor=first.document)
    study = build_sr(second, made_header()).PredecessorDocumentsSequence[0]
    series = study.ReferencedSeriesSequence[0]
    assert study.StudyInstanceUID == first.study_instance_uid
    assert DocumentReference(
        series_instance_uid=series.SeriesInstanceUID,
        sop_class_uid=series.ReferencedSOPSequence[0].ReferencedSOPClassUID,
        sop_instance_uid=series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
    ) == build_document(first)


@pytest.mark.risk("R-020")
def test_only_an_analysis_takes_a_flag_down() -> None:
    """What failed or was refused after a flag leaves it standing; a clean answer says that it replaces it."""
    clean = report_of(made_headers(), StudyState.NOT_FLAGGED, revision=3, flag_stood=True)
    assert any("this one replaces it" in text for text in texts(build_sr(clean, made_header())))
    for state in (StudyState.FAILED, StudyState.NOT_ANALYSED):
        told = texts(build_sr(report_of(made_headers(), state, revision=2, flag_stood=True), made_header()))
        assert any("that flag stands" in text for text in told)
        assert not any("replaces" in text for text in told)


def test_another_decision_is_another_object() -> None:
    """State, reason, operating point and threshold make the UID; the last digits of a probability do not."""
    first = report_of(made_headers())
    assert first.analysis is not None
    said = first.analysis
    others = [
        report_of(made_headers(), StudyState.NOT_FLAGGED),
        report_of(made_headers(), StudyState.FAILED, reason_code=ReasonCode.ANALYSIS_ERROR),
        report_of(made_headers(), StudyState.FAILED, reason_code=ReasonCode.WORKER_DIED),
        replace(first, analysis=replace(said, operating_point="high_sensitivity")),
        replace(first, analysis=replace(said, threshold=said.threshold / 2)),
    ]
    uids = {each.document.sop_instance_uid for each in (first, *others)}
    assert len(uids) == 1 + len(others)
    nearly = tuple(p - 1e-7 for p in said.probabilities)
    assert replace(first, analysis=replace(said, probabilities=nearly)).document == first.document


def build_document(report: Report) -> DocumentReference:
    """What the earlier report really was."""
    ds = build_sr(report, made_header())
    return DocumentReference(
        series_instance_uid=ds.SeriesInstanceUID,
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
    )


def test_every_analysed_image_is_evidence_once() -> None:
    """Image library and evidence list each analysed image, frames of one object only once."""
    headers = made_headers(12)
    report = report_of(headers)
    assert report.analysis is not None
    frames = tuple(
        replace(each, image=replace(each.image, sop_instance_uid="1.2.3.9", frame_number=number + 1))
        for number, each in enumerate(report.analysis.slices)
    )
    multi_frame = replace(report, analysis=replace(report.analysis, slices=frames))
    for each, count in ((report, 12), (multi_frame, 1)):
        ds = build_sr(each, made_header())
        evidence = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        assert len(evidence.ReferencedSOPSequence) == count


def test_without_a_frame_of_reference_there_is_no_point() -> None:
    """A source without Frame of Reference UID gets a report without coordinates."""
    source = made_header()
    del source.FrameOfReferenceUID
    ds = build_sr(report_of(made_headers()), source)
    assert not [item for item in items(ds) if item.ValueType == "SCOORD3D"]


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [("+0900", "20260304", "140607"), ("-0530", "20260303", "233607"), ("bogus", None, None)],
)
def test_times_are_in_the_studys_zone(offset: str, date: str | None, time: str | None) -> None:
    """Timezone Offset From UTC applies to the whole object, so our times follow the source's."""
    ds = build_sr(report_of(made_headers()), made_header(TimezoneOffsetFromUTC=offset))
    local = report_of(made_headers()).created_at.astimezone()
    assert ds.ContentDate == (date or local.strftime("%Y%m%d"))
    assert str(ds.ContentTime).startswith(time or local.strftime("%H%M%S"))


@pytest.mark.parametrize(
    "hostile",
    [
        {"PatientSex": "UNKNOWN"},
        {"PatientBirthDate": "19xx0101"},
        {"StudyDate": "2020.01.01", "StudyTime": "25:61"},
        {"PatientName": "A" * 200},
        {"DeidentificationMethod": ""},
        {"AccessionNumber": "1" * 40},
        {"SpecificCharacterSet": "ISO_IR 999"},
    ],
    ids=lambda hostile: next(iter(hostile)),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_patient_with_invalid_values_still_gets_a_report(hostile: dict[str, Any]) -> None:
    """What the source carries, valid or not, is in the report as it was."""
    source = made_header(**hostile)
    copied = dcmread(io.BytesIO(written(report_of(made_headers()), source)))
    for keyword in hostile:
        assert str(copied.get_item(keyword).value or "") in (
            str(source[keyword].value or ""),
            str((source[keyword].value or "").encode() + b" " * (len(str(source[keyword].value)) % 2)),
        )


@pytest.mark.risk("R-118")
def test_text_outside_the_default_repertoire_cannot_break_it() -> None:
    """Series descriptions and reasons in any script are written as ASCII, whatever the character set."""
    report = report_of(made_headers(), StudyState.NOT_ANALYSED, reason="造影 \\ ~ Ö" * 30)
    ds = dcmread(io.BytesIO(written(report, made_header(SpecificCharacterSet="ISO_IR 100"))))
    assert all(text.isascii() for text in texts(ds))
    assert len(ds.CompletionFlagDescription) <= 64
