"""The HL7 message: every state unmistakable, every hostile text harmless, the same bytes each time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_triage.domain.finding import ImageReference
from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.priority import Rank
from ich_triage.domain.states import OutputKind, StudyState
from ich_triage.outputs.hl7 import build_oru, codec, control_id, escape
from ich_triage.outputs.report import Report
from ich_triage.query.attributes import PRIORITIES
from ich_triage.settings import MllpDestination
from tests.reports import analysis_of, made_header, made_headers, report_of

HIS = MllpDestination(
    kind="mllp",
    name="his",
    host="h",
    port=2575,
    sending_facility="RAD",
    receiving_application="HIS",
    receiving_facility="HOSP & CO",
)
CONFORMANCE = Path(__file__).parents[3] / "docs" / "conformance.md"
FINAL = (StudyState.FLAGGED, StudyState.NOT_FLAGGED, StudyState.NOT_ANALYSED, StudyState.FAILED)


def built(report: Report, to: MllpDestination = HIS, **attributes: Any) -> hl7.Message:
    """The message of `report`, of a study with `attributes`, as the library reads it."""
    return hl7.parse(build_oru(report, made_header(**attributes), to), encoding=codec(to.encoding))


def observed(message: hl7.Message, code: str) -> list[hl7.Segment]:
    """The OBX segments with `code` in OBX-3."""
    return [each for each in message.segments("OBX") if each.extract_field(1, 3) == code]


def value(message: hl7.Message, code: str, component: int = 1) -> str:
    """OBX-5 of the one observation with `code`."""
    (segment,) = observed(message, code)
    return str(segment.extract_field(1, 5, 1, component))


def test_the_order_is_named_as_ihe_has_it() -> None:
    """Accession number in ORC-3, OBR-3 and OBR-18; the Study Instance UID in the first OBX."""
    message = built(report_of(made_headers()), AccessionNumber="A&1", StudyDate="20260304", StudyTime="0506")
    fields = [("ORC", 3), ("OBR", 3), ("OBR", 18)]
    assert [message.extract_field(segment, 1, field) for segment, field in fields] == ["A&1"] * 3
    assert message.extract_field("OBR", 1, 7) == "202603040506"
    assert value(message, "113014") == "1.2.3"


def test_a_study_without_accession_number_is_known_by_its_uid() -> None:
    """A filler number is required, and nothing is invented in the accession number's own place."""
    message = built(report_of(made_headers()))
    assert message.extract_field("OBR", 1, 3) == "1.2.3"
    assert message.extract_field("OBR", 1, 18) == ""


def test_the_header_says_who_to_whom_and_how() -> None:
    """MSH as configured, HL7 2.5.1, the time of the report and not of sending."""
    message = built(report_of(made_headers()), TimezoneOffsetFromUTC="+0100")
    told = [message.extract_field("MSH", 1, number) for number in (3, 4, 5, 6, 7, 11, 12, 18)]
    expected = ["ICH_TRIAGE", "RAD", "HIS", "HOSP & CO", "20260304060607+0100", "P", "2.5.1", "UNICODE UTF-8"]
    assert told == expected
    assert str(message.segment("MSH")(9)) == "ORU^R01^ORU_R01"


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.risk("R-002")
def test_no_state_looks_like_another(state: StudyState) -> None:
    """The triage result is the state; only a flagged study is abnormal, none is final, none is normal."""
    message = built(report_of(made_headers(), state))
    assert value(message, "TRIAGE") == state.name
    (triage,) = observed(message, "TRIAGE")
    assert triage.extract_field(1, 8) == ("A" if state is StudyState.FLAGGED else "")
    statuses = {each.extract_field(1, 11) for each in message.segments("OBX")}
    assert statuses <= {"O", "P", "X"} and message.extract_field("OBR", 1, 25) == "P"


@pytest.mark.parametrize("state", [StudyState.NOT_ANALYSED, StudyState.FAILED])
def test_what_was_not_analysed_has_a_reason_and_no_probability(state: StudyState) -> None:
    """The reason as code and text; the probability is one that cannot be obtained; nothing of a package."""
    message = built(report_of(made_headers(), state))
    assert (value(message, "REASON"), value(message, "REASON", 2)) == ("angiography", "CT angiography")
    (probability,) = observed(message, "P_ANY")
    assert (probability.extract_field(1, 5), probability.extract_field(1, 11)) == ("", "X")
    assert observed(message, "PACKAGE") == observed(message, "THRESHOLD") == []


def test_findings_are_told_one_by_one() -> None:
    """Subtype, probability, side, volume with its interval, key image; what is not known is left out."""
    message = built(report_of(made_headers()))
    by_finding: dict[str, dict[str, str]] = {}
    for each in message.segments("OBX"):
        said = str(each(5)) if each.extract_field(1, 2) == "SN" else each.extract_field(1, 5)
        by_finding.setdefault(each.extract_field(1, 4), {})[each.extract_field(1, 3)] = said
    assert by_finding["1"] == {
        "SUBTYPE": "SDH",
        "122157": "0.9312",
        "SIDE": "7771000",
        "118565006": "23.46",
        "VOLUME_INTERVAL": "^18.20^-^29.90",
        "121180": "1.2.3.1.6",
    }
    expected = {"SUBTYPE": "SAH", "122157": "0.6100", "SIDE": "261129000", "121180": "1.2.3.1.5"}
    assert by_finding["2"] == expected
    assert by_finding[""]["P_ANY"] == "0.9700" and by_finding[""]["THRESHOLD"] == "0.3500"
    assert by_finding[""]["PACKAGE_SHA256"] == "ab" * 32


def test_a_frame_is_named() -> None:
    """The key image of a multi-frame series has its frame number beside its UID."""
    headers = made_headers(1)
    analysis = analysis_of(headers)
    image = ImageReference(sop_class_uid="1.2", sop_instance_uid="1.2.3.9", frame_number=7)
    analysis = replace(analysis, slices=(replace(analysis.slices[0], image=image),))
    message = built(report_of(headers, analysis=analysis))
    assert {each.extract_field(1, 5) for each in observed(message, "KEY_FRAME")} == {"7"}


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.risk("R-001")
def test_every_message_carries_the_honest_labels(state: StudyState) -> None:
    """For prioritisation only, always; the synthetic stamp wherever such a package has spoken."""
    (comment,) = observed(built(report_of(made_headers(), state)), "121106")
    said = [str(each) for each in comment(5)]
    assert PRIORITISATION_ONLY in said
    assert (SYNTHETIC in said) == (state in (StudyState.FLAGGED, StudyState.NOT_FLAGGED))


def test_a_later_message_is_a_correction_for_those_who_have_an_earlier_one() -> None:
    """C in OBR-25 and OBX-11 for them, P for others; the study itself has no result status."""
    later = report_of(
        made_headers(),
        StudyState.NOT_FLAGGED,
        revision=2,
        flag_stood=True,
        predecessor_held_by=frozenset({"his"}),
    )
    message = built(later)
    assert message.extract_field("OBR", 1, 25) == "C"
    assert [each.extract_field(1, 11) for each in message.segments("OBX")][:2] == ["O", "C"]
    assert "this one replaces it" in str(message)
    other = HIS.model_copy(update={"name": "other"})
    assert built(later, other).extract_field("OBR", 1, 25) == "P"


@pytest.mark.parametrize(
    ("state", "changes", "priority"),
    [
        (StudyState.FLAGGED, {}, ("S", Rank.FLAGGED)),
        (StudyState.NOT_ANALYSED, {}, ("A", Rank.UNKNOWN)),
        (StudyState.NOT_ANALYSED, {"flag_stood": True}, ("S", Rank.FLAGGED)),
        (StudyState.NOT_FLAGGED, {}, ("R", Rank.NOT_FLAGGED)),
        (StudyState.NOT_ANALYSED, {"stat": True}, ("A", Rank.UNKNOWN_STAT)),
        (StudyState.NOT_FLAGGED, {"stat": True}, ("A", Rank.NOT_FLAGGED_STAT)),
    ],
)
def test_priority_follows_the_place_on_the_list(
    state: StudyState, changes: dict[str, Any], priority: tuple[str, Rank]
) -> None:
    """Flagged first, the unknown before the unflagged; a flag stays up, an urgent request is not routine."""
    message = built(report_of(made_headers(), state, **changes))
    told = (message.extract_field("TQ1", 1, 9), Rank(int(value(message, "PRIORITY"))))
    assert told == priority


def test_every_protocol_follows_the_table_of_priorities() -> None:
    """For each place on the list, TQ1-9 and the DICOM priority are those of docs/conformance.md."""
    row = re.compile(r"^\| ([1-6, ]+): .* \| (\w+) \| \w+ \| ([SAR]) \|$", re.MULTILINE)
    documented = row.findall(CONFORMANCE.read_text(encoding="utf-8"))
    listed = {int(rank): (level, code) for ranks, level, code in documented for rank in ranks.split(", ")}
    told = {}
    for state in FINAL:
        for stat in (False, True):
            report = report_of(made_headers(), state, stat=stat)
            told[report.rank] = (PRIORITIES[report.rank], built(report).extract_field("TQ1", 1, 9))
    assert told == listed and told.keys() == set(Rank)


def test_one_report_makes_one_message_for_each_destination() -> None:
    """Same report, same bytes and control id; another revision, decision or destination, another id."""
    report, header = report_of(made_headers()), made_header()
    assert build_oru(report, header, HIS) == build_oru(report, header, HIS)
    others = [
        report.message_uid(OutputKind.HL7, "other"),
        report_of(made_headers(), revision=2).message_uid(OutputKind.HL7, "his"),
        report_of(made_headers(), StudyState.NOT_FLAGGED).message_uid(OutputKind.HL7, "his"),
    ]
    identity = control_id(report.message_uid(OutputKind.HL7, "his"))
    assert built(report).extract_field("MSH", 1, 10) == identity and len(identity) == 20
    assert len({identity, *map(control_id, others)}) == 4


def test_a_name_has_its_parts_where_hl7_wants_them() -> None:
    """Suffix before prefix, other than in DICOM; one repetition for each script."""
    message = built(report_of(made_headers()), PatientName="Yamada^Tarou^T^Dr^Jr=山田^太郎=やまだ^たろう")
    told = [str(each) for each in message.segment("PID")(5)]
    assert told == ["Yamada^Tarou^T^Jr^Dr^^^A", "山田^太郎^^^^^^I", "やまだ^たろう^^^^^^P"]


def test_the_patient_is_taken_as_it_came() -> None:
    """Identifier with its issuer, date of birth, sex; what is no date or sex is left out."""
    attributes = {"PatientID": "4|7", "IssuerOfPatientID": "HOSP", "PatientBirthDate": "19700131"}
    pid = built(report_of(made_headers()), PatientSex="F", **attributes).segment("PID")
    assert pid.extract_field(1, 3, 1, 1) == "4|7" and pid.extract_field(1, 3, 1, 4) == "HOSP"
    assert (pid.extract_field(1, 7), pid.extract_field(1, 8)) == ("19700131", "F")
    odd = built(report_of(made_headers()), PatientSex="\\|", PatientID="")
    assert str(odd.segment("PID")) == "PID|1"


@pytest.mark.parametrize(
    "hostile",
    [
        "~\\&|",
        "Doe\rOBX|1|CE|TRIAGE",
        "\x1c\r\x0bMSH|^~\\&|",
        "Жуков",
        "山田",
        "\\F\\",
        "Müller & Söhne",
        "a\nb\x00",
    ],
)
@pytest.mark.risk("R-118")
def test_hostile_names_round_trip_and_break_nothing(hostile: str) -> None:
    """The library reads back the name as it was; segments and the frame of MLLP stay what they are."""
    header = made_header(PatientName=hostile)
    plain = [each[:3] for each in str(built(report_of(made_headers()))).split("\r")]
    content = build_oru(report_of(made_headers()), header, HIS)
    message = hl7.parse(content, encoding="utf-8")
    assert [each[:3] for each in content.decode().split("\r")] == plain
    assert not any(byte in content for byte in b"\x0b\x1c\x00\n")
    parts = [message.extract_field("PID", 1, 5, 1, component) for component in (1, 2)]
    assert "^".join(parts).removesuffix("^") == hostile.strip(" \0")


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in range(0x80, 0xA0)]))
)
def test_what_is_escaped_is_read_back(text: str) -> None:
    """Any text in a field comes out of the library's parser as it went in."""
    message = hl7.parse(f"MSH|^~\\&|A\rOBX|1|{escape(text)}|end\r")
    assert message.extract_field("OBX", 1, 2) == text
    assert message.extract_field("OBX", 1, 3) == "end"


@pytest.mark.parametrize(("encoding", "read"), [("8859/1", "Müller ??"), ("ASCII", "M?ller ??")])
def test_what_the_character_set_lacks_is_a_question_mark(encoding: str, read: str) -> None:
    """The message is in the declared character set, whatever the name is written in."""
    to = HIS.model_copy(update={"encoding": encoding})
    message = built(report_of(made_headers()), to, PatientName="Müller 山田")
    assert message.extract_field("MSH", 1, 18) == encoding
    assert message.extract_field("PID", 1, 5) == read


def test_every_character_set_has_a_codec() -> None:
    """Each that the configuration offers can be written."""
    offered = MllpDestination.model_fields["encoding"].annotation
    assert offered and {codec(each) for each in offered.__args__} >= {"utf-8", "ascii", "iso8859-1"}
    assert all("A".encode(codec(each)) == b"A" for each in offered.__args__)


@pytest.mark.parametrize(("number", "state"), [(0, StudyState.FLAGGED), (1, StudyState.NOT_ANALYSED)])
def test_the_documented_example_is_what_is_sent(number: int, state: StudyState) -> None:
    """docs/hl7.md shows a message as it is built."""
    document = (Path(__file__).parents[3] / "docs/hl7.md").read_text(encoding="utf-8")
    example = re.findall(r"```hl7\n(.*?)```", document, re.DOTALL)[number]
    header = made_header(
        PatientName="Synthetic^Head",
        PatientID="SYN-1",
        PatientBirthDate="19700102",
        PatientSex="O",
        AccessionNumber="SYN-A1",
        StudyDate="20260304",
        StudyTime="050510",
    )
    to = HIS.model_copy(update={"sending_facility": "RADIOLOGY", "receiving_facility": "HOSPITAL"})
    content = build_oru(report_of(made_headers(), state), header, to)
    assert content.decode().replace("\r", "\n") == example
