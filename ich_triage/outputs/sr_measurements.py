"""TID 1501 measurement groups: the whole study, then each finding."""

from __future__ import annotations

import numpy as np
from highdicom import sr

from ..dicom import codes
from ..dicom.uids import named_uid
from ..domain.finding import Analysis, Finding, Side
from ..domain.labels import ABBREVIATIONS, LABELS, SUBTYPES
from .common import ascii_text
from .report import MANUFACTURER, Report

Group = sr.MeasurementsAndQualitativeEvaluations

#: decimals kept, so that a number reads as precise as it is
_PROBABILITY_DECIMALS = 4
_VOLUME_DECIMALS = 2
_COORDINATE_DECIMALS = 1


def measurement_groups(report: Report, analysis: Analysis, frame_of_reference_uid: str) -> list[Group]:
    """TID 1501, one group for the study; when it is flagged, one more for each finding.

    `frame_of_reference_uid` is that of the analysed series; without one, centroids are left out.
    """
    algorithm = _algorithm(analysis)
    groups = [_study_group(report, analysis, algorithm)]
    if report.flagged:
        groups += [
            _finding_group(report, analysis, finding, algorithm, frame_of_reference_uid)
            for finding in analysis.findings
        ]
    return groups


def _algorithm(analysis: Analysis) -> sr.AlgorithmIdentification:
    """TID 4019 Algorithm Identification."""
    package = analysis.package
    parameters = [
        f"weights SHA-256: {package.weights_sha256}",
        f"operating point: {analysis.operating_point}",
        f"threshold on the probability of any hemorrhage: {analysis.threshold:.4f}",
    ]
    if package.synthetic:
        parameters.append("training data: synthetic")
    return sr.AlgorithmIdentification(
        name=ascii_text(package.name),
        version=ascii_text(package.version),
        parameters=[ascii_text(parameter) for parameter in parameters],
        manufacturer=MANUFACTURER,
    )


def _study_group(report: Report, analysis: Analysis, algorithm: sr.AlgorithmIdentification) -> Group:
    """The six probabilities of the study; names haemorrhage as a finding only when it is flagged."""
    names = (codes.PROBABILITY, *(codes.SUBTYPE_PROBABILITIES[subtype] for subtype in SUBTYPES))
    assert len(names) == len(LABELS)
    return Group(
        tracking_identifier=sr.TrackingIdentifier(
            uid=named_uid("tracking", report.study_instance_uid, "any"),
            identifier="Intracranial hemorrhage, whole study",
        ),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE if report.flagged else None,
        finding_sites=[sr.FindingSite(anatomic_location=codes.CRANIAL_CAVITY)],
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(name=name, value=round(value, _PROBABILITY_DECIMALS), unit=codes.NO_UNITS)
            for name, value in zip(names, analysis.probabilities, strict=True)
        ],
    )


def _finding_group(
    report: Report,
    analysis: Analysis,
    finding: Finding,
    algorithm: sr.AlgorithmIdentification,
    frame_of_reference_uid: str,
) -> Group:
    image = analysis.slices[finding.key_slice].image
    return Group(
        tracking_identifier=sr.TrackingIdentifier(
            uid=named_uid("tracking", report.study_instance_uid, finding.subtype),
            identifier=ABBREVIATIONS[finding.subtype],
        ),
        finding_type=codes.INTRACRANIAL_HEMORRHAGE,
        finding_sites=[_site(finding)],
        algorithm_id=algorithm,
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=image.sop_class_uid,
                referenced_sop_instance_uid=image.sop_instance_uid,
                referenced_frame_numbers=None if image.frame_number is None else [image.frame_number],
            )
        ],
        measurements=_measurements(finding, frame_of_reference_uid),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=codes.SUBTYPE, value=codes.SUBTYPES[finding.subtype])
        ],
    )


def _site(finding: Finding) -> sr.FindingSite:
    return sr.FindingSite(
        anatomic_location=codes.FINDING_SITES[finding.subtype],
        laterality=codes.LATERALITIES.get(finding.side) if finding.side else None,
        topographical_modifier=codes.MIDLINE if finding.side is Side.MIDLINE else None,
    )


def _measurements(finding: Finding, frame_of_reference_uid: str) -> list[sr.Measurement]:
    """TID 300: probability, volume with its uncertainty (TID 310), ABC/2; each only when there is one."""
    measurements = [
        sr.Measurement(
            name=codes.PROBABILITY,
            value=round(finding.probability, _PROBABILITY_DECIMALS),
            unit=codes.NO_UNITS,
        )
    ]
    if finding.volume_ml is not None:
        measurements.append(
            sr.Measurement(
                name=codes.VOLUME,
                value=round(finding.volume_ml, _VOLUME_DECIMALS),
                unit=codes.MILLILITER,
                properties=_uncertainty(finding.volume_ml, finding.volume_interval_ml),
                referenced_coordinates=_centroid(finding, frame_of_reference_uid),
            )
        )
    if finding.abc2_ml is not None:
        measurements.append(
            sr.Measurement(
                name=codes.VOLUME,
                value=round(finding.abc2_ml, _VOLUME_DECIMALS),
                unit=codes.MILLILITER,
                method=codes.ABC2,
            )
        )
    return measurements


def _uncertainty(volume: float, interval: tuple[float, float] | None) -> sr.MeasurementProperties | None:
    if interval is None:
        return None
    lower, upper = interval
    return sr.MeasurementProperties(
        upper_measurement_uncertainty=round(max(upper - volume, 0.0), _VOLUME_DECIMALS),
        lower_measurement_uncertainty=round(max(volume - lower, 0.0), _VOLUME_DECIMALS),
    )


def _centroid(finding: Finding, frame_of_reference_uid: str) -> list[sr.CoordinatesForMeasurement3D] | None:
    """SCOORD3D point (PS3.3 section C.18.9), mm, LPS, in the frame of reference of the images."""
    if finding.centroid_lps is None or not frame_of_reference_uid:
        return None
    point = np.round(np.array([finding.centroid_lps], dtype=float), _COORDINATE_DECIMALS)
    return [
        sr.CoordinatesForMeasurement3D(
            graphic_type=sr.GraphicTypeValues3D.POINT,
            graphic_data=point,
            frame_of_reference_uid=frame_of_reference_uid,
            purpose=codes.CENTER_OF_MASS,
        )
    ]
