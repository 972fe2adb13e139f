"""TID 1500 Imaging Measurement Report as Comprehensive 3D SR (PS3.3 section A.35.13)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import RelationshipTypeValues as Relation
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ..dicom import codes
from ..domain.finding import Analysis, ImageReference
from .common import ascii_text, comments, finish
from .report import MANUFACTURER, MODEL_NAME, Report
from .sr_measurements import measurement_groups

SERIES_NUMBER = 9701
SERIES_DESCRIPTION = "ICH Triage report: for prioritisation only"


def build_sr(report: Report, source: Dataset) -> Dataset:
    """TID 1500: the structured report of one revision.

    `source` is the header of any object of the study: patient, study and frame of reference come from it,
    as they are. The content is in the default character repertoire. Same input, same bytes.
    """
    document = sr.Comprehensive3DSR(
        evidence=_evidence(report),
        content=_content(report, source),
        series_instance_uid=report.document.series_instance_uid,
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=report.document.sop_instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=report.analysis is not None,
        previous_versions=_predecessors(report),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[_coding_scheme()],
    )
    if report.reason:
        document.CompletionFlagDescription = ascii_text(report.reason, limit=64)
    del document.ContributingEquipmentSequence  # highdicom names itself there, with the time of day
    if not report.analysis:
        del document.CurrentRequestedProcedureEvidenceSequence  # of the stand-in; nothing is referenced
    finish(document, report, source)
    return document


def _content(report: Report, source: Dataset) -> sr.ContainerContentItem:
    """TID 1500 rows 1 to 14; Key Images (PS3.16 CID 7010) is our extension of it."""
    root = sr.ContainerContentItem(name=codes.IMAGING_MEASUREMENT_REPORT, template_id="1500")
    items = sr.ContentSequence()
    items.extend(sr.LanguageOfContentItemAndDescendants(sr.CodedConcept.from_code(codes.ENGLISH)))
    items.extend(_observation_context(report))
    items.append(
        sr.CodeContentItem(
            name=codes.PROCEDURE_REPORTED,
            value=codes.CT_OF_HEAD,
            relationship_type=Relation.HAS_CONCEPT_MOD,
        )
    )
    if report.analysis:
        items.append(_image_library(report.analysis, source))
        measurements = _container(codes.IMAGING_MEASUREMENTS)
        for group in measurement_groups(
            report, report.analysis, str(source.get("FrameOfReferenceUID") or "")
        ):
            measurements.ContentSequence.extend(group)
        items.append(measurements)
    items.append(_qualitative_evaluations(report))
    if report.analysis and report.flagged and report.analysis.findings:
        items.append(_key_images(report.analysis))
    root.ContentSequence = items
    return root


def _observation_context(report: Report) -> sr.ObservationContext:
    """TID 1001 with the device observer of TID 1004."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=report.device.uid,
        name=report.device.ae_title,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=report.device.ae_title,
    )
    observer = sr.ObserverContext(
        observer_type=sr.CodedConcept.from_code(codes.DEVICE), observer_identifying_attributes=device
    )
    return sr.ObservationContext(observer_device_context=observer)


def _image_library(analysis: Analysis, source: Dataset) -> sr.ContainerContentItem:
    """TID 1600: the analysed images in order along the slice normal, descriptors at group level."""
    group = _container(codes.IMAGE_LIBRARY_GROUP)
    group.ContentSequence.append(
        sr.CodeContentItem(
            name=codes.MODALITY,
            value=codes.COMPUTED_TOMOGRAPHY,
            relationship_type=Relation.HAS_ACQ_CONTEXT,
        )
    )
    if uid := str(source.get("FrameOfReferenceUID") or ""):
        group.ContentSequence.append(
            sr.UIDRefContentItem(
                name=codes.FRAME_OF_REFERENCE_UID, value=uid, relationship_type=Relation.HAS_ACQ_CONTEXT
            )
        )
    for image in distinct_images(analysis):
        group.ContentSequence.append(_image(codes.SOURCE, image))
    library = _container(codes.IMAGE_LIBRARY)
    library.ContentSequence.append(group)
    return library


def _qualitative_evaluations(report: Report) -> sr.ContainerContentItem:
    """TID 1500 rows 12 to 14.

    A study that was not flagged says "Presence Undetermined", never "Absent": the operating point is
    chosen for order, not for exclusion. One that was not analysed says nothing about haemorrhage at all.
    """
    container = _container(codes.QUALITATIVE_EVALUATIONS)
    evaluations = [
        (codes.SUMMARY_OF_ANALYSES, codes.ANALYSIS_STATUS[report.state]),
        (codes.TRIAGE_RESULT, codes.TRIAGE_RESULTS[report.state]),
    ]
    if report.analysis:
        finding = codes.PRESENT if report.flagged else codes.PRESENCE_UNDETERMINED
        evaluations.append((codes.INTRACRANIAL_HEMORRHAGE, finding))
    for name, value in evaluations:
        container.ContentSequence.extend(sr.QualitativeEvaluation(name=name, value=value))
    for text in comments(report):
        container.ContentSequence.append(
            sr.TextContentItem(
                name=codes.COMMENT, value=ascii_text(text), relationship_type=Relation.CONTAINS
            )
        )
    return container


def _key_images(analysis: Analysis) -> sr.ContainerContentItem:
    container = _container(codes.KEY_IMAGES)
    images = dict.fromkeys(analysis.slices[finding.key_slice].image for finding in analysis.findings)
    for image in images:
        container.ContentSequence.append(_image(codes.KEY_IMAGES, image))
    return container


def _container(name: Code) -> sr.ContainerContentItem:
    container = sr.ContainerContentItem(name=name, relationship_type=Relation.CONTAINS)
    container.ContentSequence = sr.ContentSequence()
    return container


def _image(name: Code, image: ImageReference) -> sr.ImageContentItem:
    return sr.ImageContentItem(
        name=name,
        referenced_sop_class_uid=image.sop_class_uid,
        referenced_sop_instance_uid=image.sop_instance_uid,
        referenced_frame_numbers=None if image.frame_number is None else [image.frame_number],
        relationship_type=Relation.CONTAINS,
    )


def distinct_images(analysis: Analysis) -> list[ImageReference]:
    """Each analysed object once, without its frames, in order along the slice normal."""
    objects = dict.fromkeys((s.image.sop_class_uid, s.image.sop_instance_uid) for s in analysis.slices)
    return [
        ImageReference(sop_class_uid=sop_class, sop_instance_uid=instance) for sop_class, instance in objects
    ]


def _evidence(report: Report) -> list[Dataset]:
    """The analysed images, as far as highdicom must know them; a stand-in where there are none.

    Its constructor refuses patients with invalid values, so it gets none: `finish` copies them later.
    """
    images: Sequence[ImageReference] = distinct_images(report.analysis) if report.analysis else ()
    series = report.series.series_instance_uid if report.series else ""
    proxies = [_proxy(report, image.sop_class_uid, image.sop_instance_uid, series) for image in images]
    return proxies or [_proxy(report, CTImageStorage, report.document.sop_instance_uid, series)]


def _proxy(report: Report, sop_class_uid: str, sop_instance_uid: str, series_instance_uid: str) -> Dataset:
    proxy = Dataset()
    proxy.SOPClassUID = sop_class_uid
    proxy.SOPInstanceUID = sop_instance_uid
    proxy.StudyInstanceUID = report.study_instance_uid
    proxy.SeriesInstanceUID = series_instance_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(proxy, keyword, "")
    for keyword in ("StudyID", "StudyDate", "StudyTime"):
        setattr(proxy, keyword, "")
    return proxy


def _predecessors(report: Report) -> list[Dataset] | None:
    """Predecessor Documents Sequence (PS3.3 Table C.17-2)."""
    if report.predecessor is None:
        return None
    earlier = Dataset()
    earlier.StudyInstanceUID = report.study_instance_uid
    earlier.SeriesInstanceUID = report.predecessor.series_instance_uid
    earlier.SOPClassUID = report.predecessor.sop_class_uid
    earlier.SOPInstanceUID = report.predecessor.sop_instance_uid
    return [earlier]


def _coding_scheme() -> CodingSchemeIdentificationItem:
    return CodingSchemeIdentificationItem(
        designator=codes.SCHEME,
        name=codes.SCHEME_NAME,
        uid=codes.SCHEME_UID,
        responsible_organization=codes.SCHEME_ORGANIZATION,
    )
