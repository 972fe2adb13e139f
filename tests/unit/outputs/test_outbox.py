"""The outbox: durable, once, and only to whom it concerns."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from ich_triage.domain.states import OutputKind, StudyState
from ich_triage.outputs.folders import folder_name
from ich_triage.outputs.outbox import Outbox
from ich_triage.outputs.report import Report
from ich_triage.settings import DicomDestination, MllpDestination, WebhookDestination
from ich_triage.storage.folder import Folder
from ich_triage.store.deliveries import Planned
from tests.reports import made_header, made_headers, made_masks, made_volume, report_of

EVERYTHING = DicomDestination(name="all", host="h", port=104, ae_title="ALL", send="all")
FLAGGED = DicomDestination(name="flagged", host="h", port=104, ae_title="FLAGGED", outputs=("sr",))


def rendered(spool: Path, report: Report) -> tuple[Planned, ...]:
    """What a report is rendered to, for both destinations."""
    volume = made_volume(made_headers()) if report.flagged else None
    masks = made_masks(volume) if volume else None
    return Outbox(Folder(spool), (EVERYTHING, FLAGGED)).render(
        report, [made_header()], volume=volume, masks=masks
    )


def whom(planned: tuple[Planned, ...]) -> list[tuple[str, str]]:
    """Who gets what."""
    return [(each.destination, each.kind) for each in planned]


def test_a_flagged_study_goes_to_everyone_as_they_want_it(tmp_path: Path) -> None:
    """Reports before pictures; a destination that wants only reports gets no picture."""
    planned = rendered(tmp_path, report_of(made_headers()))
    assert whom(planned) == [("all", "sr"), ("flagged", "sr"), ("all", "capture")]
    for each in planned:
        meta = dcmread(tmp_path / each.path, stop_before_pixels=True)
        assert (meta.SOPClassUID, meta.SOPInstanceUID) == (each.sop_class_uid, each.sop_instance_uid)


@pytest.mark.parametrize("state", [StudyState.NOT_FLAGGED, StudyState.NOT_ANALYSED, StudyState.FAILED])
def test_the_rest_goes_to_those_who_asked_for_all(tmp_path: Path, state: StudyState) -> None:
    """A destination of flagged studies hears nothing of others; nobody gets pictures of them."""
    assert whom(rendered(tmp_path, report_of(made_headers(), state))) == [("all", "sr")]


def test_who_was_told_of_a_flag_is_told_that_it_is_down(tmp_path: Path) -> None:
    """A revision that takes a flag down goes to whoever has the earlier report, and says so."""
    later = report_of(
        made_headers(),
        StudyState.NOT_FLAGGED,
        revision=2,
        predecessor=report_of(made_headers()).document,
        predecessor_held_by=frozenset({"flagged"}),
        flag_stood=True,
    )
    planned = rendered(tmp_path, later)
    assert whom(planned) == [("all", "sr"), ("flagged", "sr")]
    assert b"An earlier report flagged this study" in (tmp_path / planned[0].path).read_bytes()


def test_rendering_again_changes_nothing(tmp_path: Path) -> None:
    """A repeated stage plans the same and leaves the files alone, so the bytes of a UID never change."""
    report = report_of(made_headers())
    first = rendered(tmp_path, report)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.dcm")}
    assert rendered(tmp_path, report) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.dcm")} == before


HIS = MllpDestination(kind="mllp", name="his", host="h", port=2575)
OTHER_HIS = MllpDestination(kind="mllp", name="other", host="h", port=2576, send="all", encoding="8859/1")
DESK = WebhookDestination(kind="webhook", name="desk", url="https://desk.example/hook", send="all")


def messages(spool: Path, report: Report) -> tuple[Planned, ...]:
    """What a report is rendered to where nobody wants objects."""
    return Outbox(Folder(spool), (HIS, OTHER_HIS, DESK)).render(report, [made_header(PatientName="Müller")])


def test_each_destination_of_messages_has_its_own_file(tmp_path: Path) -> None:
    """Beside the report, under an id of its own, in its own character set; planned like any object."""
    planned = messages(tmp_path, report_of(made_headers()))
    assert whom(planned) == [("his", "hl7"), ("other", "hl7"), ("desk", "webhook")]
    assert len({each.sop_instance_uid for each in planned}) == 3
    assert {each.sop_class_uid for each in planned} == {""}
    folders = {(tmp_path / each.path).parent for each in planned}
    assert folders == {path.parent for path in tmp_path.rglob("*.dcm")}
    utf8, latin, _ = ((tmp_path / each.path).read_bytes() for each in planned)
    assert "Müller".encode() in utf8 and "Müller".encode("latin-1") in latin


def test_messages_go_to_those_who_want_them(tmp_path: Path) -> None:
    """Of unflagged studies those hear who want all, or who heard of a flag before."""
    unflagged = report_of(made_headers(), StudyState.NOT_ANALYSED)
    assert whom(messages(tmp_path, unflagged)) == [("other", "hl7"), ("desk", "webhook")]
    later = report_of(
        made_headers(), StudyState.NOT_FLAGGED, revision=2, predecessor_held_by=frozenset({"his"})
    )
    assert whom(messages(tmp_path, later))[0] == ("his", "hl7")


def test_a_message_is_never_written_anew(tmp_path: Path) -> None:
    """A repeated stage plans the same and leaves the bytes alone, whatever the configuration says by then."""
    report = report_of(made_headers())
    first = messages(tmp_path, report)
    before = [(tmp_path / each.path).read_bytes() for each in first]
    renamed = HIS.model_copy(update={"receiving_application": "NEW"})
    again = Outbox(Folder(tmp_path), (renamed, OTHER_HIS, DESK)).render(
        report, [made_header(PatientName="Other")]
    )
    assert again == first
    assert [(tmp_path / each.path).read_bytes() for each in again] == before


def test_no_half_written_file_is_taken_for_an_object(tmp_path: Path) -> None:
    """What a crash left under a temporary name is neither sent nor in the way."""
    report = report_of(made_headers(), StudyState.NOT_FLAGGED)
    (path,) = {tmp_path / each.path for each in rendered(tmp_path, report)}
    path.rename(path.with_name(".leftover"))
    path.with_name(".leftover").write_bytes(b"half")
    rendered(tmp_path, report)
    assert dcmread(path).SOPInstanceUID == report.uid(OutputKind.SR, "instance")


@pytest.mark.parametrize("hostile", ["", ".", "..", "../../etc", "1.2/3", "1.2\0", "1" * 65, "１.2"])
@pytest.mark.risk("R-117")
def test_a_hostile_uid_cannot_leave_the_outbox(hostile: str) -> None:
    """What is no UID becomes a hash as the folder's name."""
    assert folder_name("1.2.840.1") == "1.2.840.1"
    assert len(folder_name(hostile)) == 64 and folder_name(hostile).isalnum()


def test_nobody_to_report_on(tmp_path: Path) -> None:
    """A study without a single readable header gets no object without a patient."""
    report = report_of(made_headers(), StudyState.NOT_ANALYSED)
    assert Outbox(Folder(tmp_path), (EVERYTHING,)).render(report, []) == ()
    assert not list(tmp_path.rglob("*"))
