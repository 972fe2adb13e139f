"""The result of a revision as JSON, without the patient's name; docs/webhook.md tells each key."""

from __future__ import annotations

import json
from typing import Any

from pydicom.dataset import Dataset

from ..domain.finding import Analysis, Finding
from ..domain.labels import LABELS
from ..imaging.attributes import AttributeReader
from ..settings import WebhookDestination
from .report import Report

Json = dict[str, Any]

#: what happened, in the words of the payload
EVENT = "study.triaged"


def build_body(report: Report, source: Dataset, destination: WebhookDestination) -> bytes:
    """One revision's result for `destination`, as ASCII JSON. Keys are only ever added.

    `source` is the header of any object of the study: the accession number comes from it.
    """
    said = {
        "type": EVENT,
        "timestamp": report.created_at.isoformat(),
        "data": {
            "study_instance_uid": report.study_instance_uid,
            "accession_number": AttributeReader([source]).text("AccessionNumber"),
            "revision": report.revision,
            "correction": destination.name in report.predecessor_held_by,
            "state": report.state,
            "reason": {"code": report.reason_code, "text": report.reason} if report.reason_code else None,
            "earlier_flag_stands": report.leaves_flag_up,
            "priority": int(report.rank),
            "stat": report.stat,
            "analysis": _analysis(report.analysis) if report.analysis else None,
            "findings": [_finding(report.analysis, each) for each in report.findings if report.analysis],
            "labels": report.labels,
        },
    }
    return json.dumps(said, separators=(",", ":")).encode("ascii")


def _analysis(analysis: Analysis) -> Json:
    package = analysis.package
    return {
        "package": {
            "name": package.name,
            "version": package.version,
            "weights_sha256": package.weights_sha256,
            "synthetic": package.synthetic,
        },
        "operating_point": analysis.operating_point,
        "threshold": analysis.threshold,
        "probabilities": dict(zip(LABELS, analysis.probabilities, strict=True)),
    }


def _finding(analysis: Analysis, finding: Finding) -> Json:
    image = analysis.slices[finding.key_slice].image
    return {
        "subtype": finding.subtype,
        "probability": finding.probability,
        "side": finding.side,
        "volume_ml": finding.volume_ml,
        "volume_interval_ml": finding.volume_interval_ml,
        "key_image": {
            "sop_class_uid": image.sop_class_uid,
            "sop_instance_uid": image.sop_instance_uid,
            "frame_number": image.frame_number,
        },
    }
