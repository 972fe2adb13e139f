"""Study Root C-FIND with real peers: DCMTK's findscu, and pynetdicom where a peer has to misbehave."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
)

from ich_triage.domain.states import StudyState
from ich_triage.store.database import Database
from ich_triage.store.study_query import _BATCH
from ich_triage.store.tables import Revision
from tests.asking import AE_TITLE, STUDY_ROOT, add_study, answered_values, answering, asking, find, identifier
from tests.peers import program

Wait = Callable[..., None]
#: (0099,10xx) as findscu prints them
PRIVATE = "(0099,10{:02x})"


@pytest.fixture
def listed(database: Database) -> Database:
    """One study of each kind, in the wrong order."""
    add_study(
        database,
        "1.2.3",
        StudyState.NOT_FLAGGED,
        patient_name="Müller^Jörg",
        patient_id="P3",
        study_date="20260101",
        accession_number="A-3",
    )
    add_study(database, "1.2.2", StudyState.NOT_ANALYSED, patient_name="Roe^Jane", patient_id="P2")
    add_study(
        database,
        "1.2.1",
        StudyState.FLAGGED,
        patient_name="Doe^John",
        patient_id="P1",
        study_date="20260102",
        study_description="CT HEAD",
        accession_number="A-1",
        series=("1.2.1.1", "1.2.1.2"),
    )
    return database


@pytest.fixture
def port(listed: Database) -> Iterator[int]:
    """Of a running query service that has them."""
    with answering(listed) as service:
        yield service.port


def _findscu(port: int, *keys: str, calling: str = "FINDSCU") -> str:
    options = [part for key in keys for part in ("-k", key)]
    command = [program("findscu"), "-v", "-S", "-aet", calling, "-aec", AE_TITLE, *options]
    told = subprocess.run(
        [*command, "127.0.0.1", str(port)], capture_output=True, encoding="utf-8", check=False, timeout=60
    )
    return told.stdout + told.stderr


def _ask(port: int, **keys: object) -> tuple[int, list[Dataset]]:
    with asking(port, STUDY_ROOT) as association:
        return find(association, identifier(QueryRetrieveLevel="STUDY", **keys))


def _uids(port: int, **keys: object) -> list[str]:
    asked = {"StudyInstanceUID": ""} | keys
    status, found = _ask(port, **asked)
    assert status == 0
    return [str(ds.StudyInstanceUID) for ds in found]


@pytest.mark.peer
def test_findscu_reads_studies_in_reading_order_with_their_priority(port: int) -> None:
    """DCMTK gets every study, flagged ones first; what was not analysed is neither low nor negative."""
    told = _findscu(
        port,
        "QueryRetrieveLevel=STUDY",
        "StudyInstanceUID",
        "PatientName",
        "0032,000c",
        "0099,0010=ICH_TRIAGE",
        "0099,1001",
        "0099,1006",
        "0099,1008",
    )
    assert answered_values(told, "(0020,000d)")[-3:] == ["1.2.1", "1.2.2", "1.2.3"]
    assert answered_values(told, "(0032,000c)")[-3:] == ["HIGH", "MED", "LOW"]
    assert answered_values(told, PRIVATE.format(1))[-3:] == ["FLAGGED", "NOT_ANALYSED", "NOT_FLAGGED"]
    assert answered_values(told, PRIVATE.format(6))[-3] == "SDH\\SAH"
    assert "not flagged is not negative" in told
    assert "Müller^Jörg" in told


@pytest.mark.peer
def test_findscu_reads_the_chosen_series(listed: Database, port: int) -> None:
    """A series that was chosen says so, in the database's own words."""
    with listed.write() as session:
        revision = session.query(Revision).filter(Revision.study.has(study_instance_uid="1.2.1")).one()
        revision.selection = {
            "chosen": {
                "series_instance_uid": "1.2.1.2",
                "description": "HEAD 5mm",
                "number": 2,
                "images": 2,
                "reason": "axial, soft kernel",
            },
            "rejected": [],
        }
    told = _findscu(
        port,
        "QueryRetrieveLevel=SERIES",
        "StudyInstanceUID=1.2.1",
        "SeriesInstanceUID",
        "Modality",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "0099,0010=ICH_TRIAGE",
        "0099,1010",
    )
    assert answered_values(told, "(0020,000e)")[-2:] == ["1.2.1.1", "1.2.1.2"]
    assert answered_values(told, "(0008,0060)")[-2:] == ["CT", "CT"]
    assert answered_values(told, PRIVATE.format(16))[-2:] == ["UNKNOWN", "CHOSEN"]
    assert answered_values(told, "(0008,103e)")[-1] == "HEAD 5mm"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"PatientID": "P1"}, ["1.2.1"]),
        ({"PatientID": "p1"}, []),
        ({"PatientID": "P?"}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"PatientName": "doe^john"}, ["1.2.1"]),
        ({"PatientName": "*JANE*"}, ["1.2.2"]),
        ({"PatientName": "doe"}, []),
        ({"AccessionNumber": "A-*"}, ["1.2.1", "1.2.3"]),
        ({"StudyDate": "20260102"}, ["1.2.1"]),
        ({"StudyDate": "20260101-20260102"}, ["1.2.1", "1.2.3"]),
        ({"StudyDate": "20260102-"}, ["1.2.1"]),
        ({"StudyDate": "-20260101"}, ["1.2.3"]),
        ({"StudyInstanceUID": ["1.2.1", "1.2.2", "9.9"]}, ["1.2.1", "1.2.2"]),
        ({"StudyInstanceUID": "9.9"}, []),
        ({"ModalitiesInStudy": "CT"}, ["1.2.1"]),
        ({"StudyPriorityID": "HIGH"}, ["1.2.1"]),
        ({"StudyPriorityID": "MED\\LOW"}, ["1.2.2", "1.2.3"]),
        ({"StudyDescription": "*head*"}, []),
        ({"StudyDescription": "*HEAD*"}, ["1.2.1"]),
    ],
)
def test_attribute_matching(port: int, keys: dict[str, object], found: list[str]) -> None:
    """Single values, lists, wild cards and ranges find what they cover and nothing else."""
    assert _uids(port, **keys) == found


def test_names_beyond_ascii_match_in_any_character_set(port: int) -> None:
    """A peer that asks in Latin-1 finds a name that is stored in Unicode, whatever the case."""
    assert _uids(port, SpecificCharacterSet="ISO_IR 100", PatientName="MÜLLER*") == ["1.2.3"]
    assert _uids(port, SpecificCharacterSet="ISO_IR 192", PatientName="müller^jörg") == ["1.2.3"]


def test_only_what_was_asked_for_is_told(port: int) -> None:
    """No other attribute of a patient leaves the house."""
    _, found = _ask(port, PatientID="P1", StudyDate="")
    (ds,) = found
    assert {element.keyword for element in ds} == {
        "SpecificCharacterSet",
        "QueryRetrieveLevel",
        "PatientID",
        "StudyDate",
    }


def test_a_key_that_we_do_not_keep_is_left_out_and_said_so(port: int) -> None:
    """A time of day, which is not kept, is not matched (FF01): the list must not look empty for it."""
    with asking(port, STUDY_ROOT) as association:
        question = identifier(QueryRetrieveLevel="STUDY", PatientID="P1", StudyTime="000000-010000")
        answers = list(association.send_c_find(question, STUDY_ROOT))
    assert [status.Status for status, _ in answers] == [0xFF01, 0x0000]
    assert "StudyTime" not in answers[0][1]


def test_a_list_that_is_not_whole_never_ends_with_success(listed: Database) -> None:
    """Beyond the limit the most urgent ones are sent, and the end says that there are more."""
    with answering(listed, max_answers=2) as service:
        status, found = _ask(service.port, StudyInstanceUID="")
        assert status == 0xA700
        assert [ds.StudyInstanceUID for ds in found] == ["1.2.1", "1.2.2"]


def test_a_list_that_is_cut_has_the_newest_of_those_in_one_place(sqlite: Database) -> None:
    """What has waited for months fills no answer; a whole list has the longest waiting first."""
    for minutes in (20, 30, 10):
        add_study(sqlite, f"1.2.{minutes}", StudyState.FAILED, minutes=minutes)
    with answering(sqlite, max_answers=2) as service:
        _, found = _ask(service.port, StudyInstanceUID="")
        assert [ds.StudyInstanceUID for ds in found] == ["1.2.10", "1.2.20"]
    with answering(sqlite, max_answers=3) as service:
        assert _uids(service.port) == ["1.2.30", "1.2.20", "1.2.10"]


def test_more_studies_than_one_batch(sqlite: Database) -> None:
    """Every study is found once, also where many share rank and time."""
    for number in range(_BATCH + 7):
        add_study(sqlite, f"1.3.{number}", StudyState.NOT_FLAGGED)
    with answering(sqlite) as service:
        assert len(set(_uids(service.port))) == _BATCH + 7


def test_a_cancelled_question_ends(sqlite: Database) -> None:
    """After C-CANCEL the answer ends with FE00 before all matches were sent."""
    for number in range(400):
        add_study(sqlite, f"1.3.{number}", StudyState.NOT_FLAGGED)
    with answering(sqlite) as service, asking(service.port, STUDY_ROOT) as association:
        question = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
        statuses = []
        for status, _ in association.send_c_find(question, STUDY_ROOT, msg_id=7):
            statuses.append(status.Status)
            if len(statuses) == 1:
                association.send_c_cancel(7, query_model=STUDY_ROOT)
    assert statuses[-1] == 0xFE00
    assert len(statuses) < 400


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"PatientID": "P1"}, 0xA900),
        ({"QueryRetrieveLevel": "IMAGE"}, 0xA900),
        ({"QueryRetrieveLevel": "PATIENT"}, 0xA900),
        ({"QueryRetrieveLevel": "SERIES"}, 0xA900),
        ({"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "*"}, 0xA900),
    ],
)
def test_questions_of_no_level_that_we_have(port: int, keys: dict[str, str], status: int) -> None:
    """They are refused with a status, and the association goes on."""
    with asking(port, STUDY_ROOT) as association:
        assert find(association, identifier(**keys)) == (status, [])
        assert association.send_c_echo().Status == 0


@pytest.mark.parametrize(
    "keys",
    [
        {"PatientName": "*a" * 1500},
        {"PatientID": "' OR 1=1 --"},
        {"PatientID": "%"},
        {"StudyDate": "yesterday"},
        {"StudyDate": "20260102-20260101"},
        {"PatientID": "\x1b$B" + "P1"},
        {"PatientName": "<script>alert(1)</script>"},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.risk("R-118")
def test_hostile_values_find_nothing(port: int, keys: dict[str, str]) -> None:
    """What is no value of anybody's is answered at once with an empty list."""
    assert _uids(port, **keys) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_identifier_that_is_no_data_set(port: int) -> None:
    """Bytes that cannot be read are answered with a status."""
    broken = [b"\x08\x00", b"\xff" * 64, b"\x08\x00\x52\x00\xff\xff\xff\x7fSTUDY "]
    for raw in broken:
        with asking(port, STUDY_ROOT) as association:
            status = _send_raw(association, raw)
            assert status in (0xC000, 0xA900), raw
            assert association.send_c_echo().Status == 0


def test_an_identifier_that_does_not_end(port: int) -> None:
    """More than a megabyte is dropped as it comes, and refused."""
    with asking(port, STUDY_ROOT) as association:
        assert _send_raw(association, b"\x08\x00\x52\x00" + b"\0" * (2 << 20)) == 0xA700
        assert association.send_c_echo().Status == 0


def _send_raw(association: Association, raw: bytes) -> int:
    """C-FIND with these bytes for an identifier; its status."""
    request = C_FIND()
    request.MessageID, request.AffectedSOPClassUID, request.Priority = 3, STUDY_ROOT, 2
    request.Identifier = BytesIO(raw)
    (context,) = [each for each in association.accepted_contexts if each.abstract_syntax == STUDY_ROOT]
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)


@pytest.mark.risk("R-122")
def test_who_may_ask(listed: Database) -> None:
    """An unknown calling AE title is rejected before it can ask; so is who calls us by another name."""
    with answering(listed, calling_ae_titles=["RIS"]) as service:
        for calling, called, accepted in (
            ("RIS", AE_TITLE, True),
            ("X", AE_TITLE, False),
            ("RIS", "X", False),
        ):
            with asking(service.port, STUDY_ROOT, calling=calling, called=called) as association:
                assert association.is_established is accepted
                assert association.is_rejected is not accepted


def test_more_associations_than_allowed_are_rejected(listed: Database, wait_until: Wait) -> None:
    """The next one is told so, and taken once there is room."""
    with answering(listed, max_associations=1) as service:
        with asking(service.port, STUDY_ROOT) as first, asking(service.port, STUDY_ROOT) as second:
            assert first.is_established
            assert second.is_rejected

        def has_room() -> bool:
            with asking(service.port, STUDY_ROOT) as third:
                return bool(third.is_established)

        wait_until(has_room, what="room for a third")


def test_other_models_are_not_offered(port: int) -> None:
    """Patient Root and Modality Worklist are rejected as contexts; the association stands."""
    with asking(
        port, PatientRootQueryRetrieveInformationModelFind, ModalityWorklistInformationFind
    ) as association:
        assert association.is_established
        assert len(association.accepted_contexts) == 1


def test_texts_that_would_not_be_right_in_an_answer(sqlite: Database) -> None:
    """Hostile texts of a sender become valid values: an id is given whole or not at all, words are cut."""
    add_study(
        sqlite,
        "1.4",
        StudyState.FLAGGED,
        patient_name="A" * 200 + "^\\B\x07",
        patient_id="P" * 65,
        study_description="x" * 200,
        accession_number="A\\B",
        study_date="today",
    )
    with answering(sqlite) as service:
        _, (ds,) = _ask(
            service.port, PatientName="", PatientID="", StudyDescription="", AccessionNumber="", StudyDate=""
        )
    assert ds.PatientName == "A" * 64
    assert (ds.PatientID, ds.AccessionNumber, ds.StudyDate) == ("", "", "")
    assert ds.StudyDescription == "x" * 64
