"""The result of a revision as an HL7 message: ORU^R01 of v2.5.1 (section 7.3.1); docs/hl7.md tells it.

Where the accession number and the Study Instance UID stand is as IHE Radiology has it for imaging results
(Results Distribution, RAD-128). The message follows from report, source and destination alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from ..dicom import codes
from ..domain.finding import Analysis, Finding, Side
from ..domain.priority import LEVELS, Level
from ..domain.states import OutputKind
from ..imaging.attributes import AttributeReader
from ..settings import MllpDestination
from .common import comments, local_time
from .report import Report

VERSION = "2.5.1"
#: length of MSH-10 in v2.5.1
_CONTROL_ID_LENGTH = 20
#: longest text taken over from a received header, characters
_TEXT_LIMIT = 250

# Codes that only messages carry
DICOM_STUDY = Code("113014", "DCM", "DICOM Study")  # its value is the Study Instance UID
REASON = Code("REASON", codes.SCHEME, "Why there is no analysis")
PRIORITY = Code("PRIORITY", codes.SCHEME, "Place on the reading list, 1 is read first")
PROBABILITY_OF_ANY = Code("P_ANY", codes.SCHEME, "Probability of intracranial hemorrhage")
THRESHOLD = Code("THRESHOLD", codes.SCHEME, "Probability from which a study is flagged")
PACKAGE = Code("PACKAGE", codes.SCHEME, "Model package and version")
PACKAGE_SHA256 = Code("PACKAGE_SHA256", codes.SCHEME, "SHA-256 of the model's weights")
SIDE = Code("SIDE", codes.SCHEME, "Side of the patient")
VOLUME_INTERVAL = Code("VOLUME_INTERVAL", codes.SCHEME, "Interval of the volume")
KEY_FRAME = Code("KEY_FRAME", codes.SCHEME, "Frame of the key image")

# HL7 table 0085, Observation Result Status; never "F", final: a person reads every study
_PRELIMINARY, _CORRECTION, _CANNOT_BE_OBTAINED, _NO_RESULT = "P", "C", "X", "O"
#: HL7 table 0078; its "N", normal, is what no study is ever called here
_ABNORMAL = "A"
#: HL7 table 0485, Extended Priority Codes
_PRIORITIES = {
    Level.HIGH: "S^Stat^HL70485",
    Level.MEDIUM: "A^ASAP^HL70485",
    Level.LOW: "R^Routine^HL70485",
}

#: section 2.7: control characters, which would end a segment or the MLLP block, and delimiters
_ESCAPES = {code: f"\\X{code:02X}\\" for code in (*range(0x20), 0x7F)}
_ESCAPES |= dict.fromkeys(range(0x80, 0xA0), "?")  # further control characters; no name has them
_ESCAPES |= {ord(delimiter): f"\\{letter}\\" for delimiter, letter in zip("|^&~\\", "FSTRE", strict=True)}


@dataclass(frozen=True, kw_only=True)
class _Observation:
    """One OBX segment."""

    #: OBX-2, HL7 table 0125
    type: str
    #: OBX-3
    code: Code
    #: OBX-4: which finding, from 1; empty for what is said of the whole study
    finding: str = ""
    #: OBX-5, escaped
    value: str = ""
    #: OBX-6
    unit: Code | None = None
    #: OBX-8
    abnormal: str = ""
    #: OBX-11, where it is not that of the whole message
    status: str = ""


def build_oru(report: Report, source: Dataset, destination: MllpDestination) -> bytes:
    """ORU^R01: one revision's result for `destination`, in its character set, segments ended by CR.

    `source` is the header of any object of the study: patient and order come from it.
    """
    header = AttributeReader([source])
    status = _CORRECTION if destination.name in report.predecessor_held_by else _PRELIMINARY
    created = local_time(report, source).strftime("%Y%m%d%H%M%S%z")
    segments = [
        _msh(report, destination, created),
        _pid(header),
        *_order(report, header, status, created),
        *_observation_segments(report, status, created),
    ]
    return "".join(f"{segment}\r" for segment in segments).encode(codec(destination.encoding), "replace")


def control_id(message_uid: str) -> str:
    """MSH-10 of the message that the outbox knows as `message_uid`: 20 characters, of 100 bits."""
    digest = hashlib.sha256(message_uid.encode()).digest()
    return base64.b32encode(digest).decode("ascii")[:_CONTROL_ID_LENGTH]


def codec(character_set: str) -> str:
    """Python's name for a character set of HL7 table 0211."""
    named = {"UNICODE UTF-8": "utf-8", "ASCII": "ascii"}
    return named.get(character_set) or f"iso{character_set.replace('/', '-')}"


def escape(text: str) -> str:
    """`text` as part of a field (section 2.7)."""
    return text.translate(_ESCAPES)


def _segment(name: str, fields: Mapping[int, str]) -> str:
    """`fields` by their numbers in the standard, which counts MSH's separator as its first."""
    first = 2 if name == "MSH" else 1
    return "|".join([name, *(fields.get(number, "") for number in range(first, max(fields) + 1))]).rstrip("|")


def _coded(code: Code) -> str:
    """CE and CWE: identifier, text, coding system; the designators of DICOM are those of HL7 table 0396."""
    return "^".join(escape(part) for part in (code.value, code.meaning, code.scheme_designator))


def _msh(report: Report, destination: MllpDestination, created: str) -> str:
    return _segment(
        "MSH",
        {
            2: "^~\\&",
            3: escape(destination.sending_application),
            4: escape(destination.sending_facility),
            5: escape(destination.receiving_application),
            6: escape(destination.receiving_facility),
            7: created,
            9: "ORU^R01^ORU_R01",
            10: control_id(report.message_uid(OutputKind.HL7, destination.name)),
            11: "P",
            12: VERSION,
            18: destination.encoding,
        },
    )


def _pid(header: AttributeReader) -> str:
    issuer = escape(_text(header, "IssuerOfPatientID"))
    patient = escape(_text(header, "PatientID"))
    return _segment(
        "PID",
        {
            1: "1",
            3: f"{patient}^^^{issuer}^PI" if patient else "",
            5: _name(_text(header, "PatientName")),
            7: _start(header, "PatientBirthDate", "[0-9]{8}"),
            8: _start(header, "PatientSex", "[MFO]"),
        },
    )


def _name(name: str) -> str:
    """PN (PS3.5 section 6.2.1) as XPN: the suffix comes before the prefix, each script is a repetition."""
    scripts = []
    for group, representation in zip(name.split("=", 2), "AIP", strict=False):
        family, given, middle, prefix, suffix = (*group.split("^", 4), "", "", "", "")[:5]
        if group.strip("^ "):
            parts = [escape(part) for part in (family, given, middle, suffix, prefix)]
            scripts.append("^".join([*parts, "", "", representation]))
    return "~".join(scripts)


def _order(report: Report, header: AttributeReader, status: str, created: str) -> list[str]:
    """ORC, OBR, TQ1. A study without an accession number is known by its Study Instance UID."""
    accession = escape(_text(header, "AccessionNumber"))
    filler = accession or escape(report.study_instance_uid)
    taken = _start(header, "StudyDate", "[0-9]{8}")
    observed = taken and taken + _start(header, "StudyTime", "[0-9]{4}([0-9]{2})?")
    request = {
        1: "1",
        3: filler,
        4: _coded(codes.CT_OF_HEAD),
        7: observed,
        18: accession,
        22: created,
        24: "CT",
        25: status,
    }
    return [
        _segment("ORC", {1: "RE", 3: filler}),
        _segment("OBR", request),
        _segment("TQ1", {1: "1", 9: _PRIORITIES[LEVELS[report.rank]]}),
    ]


def _observation_segments(report: Report, status: str, created: str) -> Iterator[str]:
    for number, each in enumerate(_observations(report), start=1):
        yield _segment(
            "OBX",
            {
                1: str(number),
                2: each.type,
                3: _coded(each.code),
                4: each.finding,
                5: each.value,
                6: _coded(each.unit) if each.unit else "",
                8: each.abnormal,
                11: each.status or status,
                14: created,
            },
        )


def _observations(report: Report) -> Iterator[_Observation]:
    yield _Observation(
        type="ST", code=DICOM_STUDY, value=escape(report.study_instance_uid), status=_NO_RESULT
    )
    yield _Observation(
        type="CE",
        code=codes.TRIAGE_RESULT,
        value=_coded(codes.TRIAGE_RESULTS[report.state]),
        abnormal=_ABNORMAL if report.flagged else "",
    )
    if report.reason_code:
        reason = Code(report.reason_code, codes.SCHEME, report.reason or report.reason_code)
        yield _Observation(type="CE", code=REASON, value=_coded(reason))
    yield _Observation(type="NM", code=PRIORITY, value=str(int(report.rank)))
    if report.analysis:
        yield from _analysis(report.analysis)
    else:
        yield _Observation(type="NM", code=PROBABILITY_OF_ANY, status=_CANNOT_BE_OBTAINED)
    for number, finding in enumerate(report.findings, start=1):
        assert report.analysis is not None  # it has the findings
        yield from _finding(report.analysis, finding, str(number))
    said = "~".join(escape(text) for text in comments(report))
    yield _Observation(type="TX", code=codes.COMMENT, value=said)


def _analysis(analysis: Analysis) -> Iterator[_Observation]:
    package = analysis.package
    yield _number(PROBABILITY_OF_ANY, f"{analysis.probabilities[0]:.4f}", codes.NO_UNITS)
    yield _number(THRESHOLD, f"{analysis.threshold:.4f}", codes.NO_UNITS)
    yield _Observation(type="ST", code=PACKAGE, value=escape(f"{package.name} {package.version}"))
    yield _Observation(type="ST", code=PACKAGE_SHA256, value=escape(package.weights_sha256))


def _finding(analysis: Analysis, finding: Finding, number: str) -> Iterator[_Observation]:
    """What is said of one finding; each only where there is something to say."""
    yield _Observation(
        type="CE", code=codes.SUBTYPE, finding=number, value=_coded(codes.SUBTYPES[finding.subtype])
    )
    yield _number(codes.PROBABILITY, f"{finding.probability:.4f}", codes.NO_UNITS, number)
    if finding.side:
        side = codes.MIDLINE if finding.side is Side.MIDLINE else codes.LATERALITIES[finding.side]
        yield _Observation(type="CE", code=SIDE, finding=number, value=_coded(side))
    if finding.volume_ml is not None:
        yield _number(codes.VOLUME, f"{finding.volume_ml:.2f}", codes.MILLILITER, number)
    if finding.volume_interval_ml is not None:
        low, high = finding.volume_interval_ml
        yield _Observation(
            type="SN",
            code=VOLUME_INTERVAL,
            finding=number,
            value=f"^{low:.2f}^-^{high:.2f}",
            unit=codes.MILLILITER,
        )
    image = analysis.slices[finding.key_slice].image
    yield _Observation(type="ST", code=codes.KEY_IMAGES, finding=number, value=escape(image.sop_instance_uid))
    if image.frame_number is not None:
        yield _Observation(type="NM", code=KEY_FRAME, finding=number, value=str(image.frame_number))


def _number(code: Code, value: str, unit: Code, finding: str = "") -> _Observation:
    return _Observation(type="NM", code=code, value=value, unit=unit, finding=finding)


def _text(header: AttributeReader, keyword: str) -> str:
    return header.text(keyword)[:_TEXT_LIMIT]


def _start(header: AttributeReader, keyword: str, pattern: str) -> str:
    """A value as it came, as far as HL7 can say it: the start that fits `pattern`, else empty."""
    found = re.match(pattern, _text(header, keyword))
    return found[0] if found else ""
