"""Unified Procedure Steps with real peers: readers who claim, and watchers who hear of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
from pydicom.uid import generate_uid
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
    UPSFilteredGlobalSubscriptionInstance,
    UPSGlobalSubscriptionInstance,
)
from structlog.testing import capture_logs

from ich_triage.domain.priority import rank
from ich_triage.domain.states import StudyState
from ich_triage.query.watch import step_uid
from ich_triage.store import studies
from ich_triage.store.database import Database
from ich_triage.store.ups_tables import StepEvent
from tests.asking import (
    AE_TITLE,
    Watcher,
    act,
    add_revision,
    add_study,
    answered_values,
    answering,
    asking,
    change,
    find,
    get,
    identifier,
    set_performed,
    steps,
)
from tests.peers import findscu_of_any_model

Wait = Callable[..., None]
PULL, WATCH = UnifiedProcedureStepPull, UnifiedProcedureStepWatch
GLOBAL = UPSGlobalSubscriptionInstance
FLAGGED, FAILED, LOW = step_uid("1.2.1", 1), step_uid("1.2.2", 1), step_uid("1.2.3", 1)
KEY = "1.2.3.4"


@pytest.fixture
def listed(database: Database) -> Database:
    """Three studies: flagged, failed, not flagged."""
    add_study(
        database,
        "1.2.1",
        StudyState.FLAGGED,
        patient_name="Doe^John",
        patient_id="P1",
        accession_number="A-1",
        series=("1.2.1.1",),
    )
    add_study(database, "1.2.2", StudyState.FAILED, patient_id="P2")
    add_study(database, "1.2.3", StudyState.NOT_FLAGGED, patient_id="P3")
    return database


@pytest.fixture
def port(listed: Database) -> Iterator[int]:
    """Of a running query service that has them."""
    with answering(listed) as service:
        yield service.port


@pytest.fixture
def watcher(free_port: int) -> Iterator[Watcher]:
    """A listening subscriber."""
    with Watcher("WATCHER", free_port).listening() as listening:
        yield listening


def test_steps_are_in_reading_order_with_a_priority(port: int) -> None:
    """HIGH is flagged, LOW is not flagged; what nothing has looked at is MEDIUM, and says so in words."""
    with asking(port, PULL) as reader:
        found = steps(reader, ScheduledProcedureStepPriority="", ProcedureStepLabel="", StudyInstanceUID="")
        assert [ds.SOPInstanceUID for ds in found] == [FLAGGED, FAILED, LOW]
        assert [ds.ScheduledProcedureStepPriority for ds in found] == ["HIGH", "MEDIUM", "LOW"]
        assert [ds.ProcedureStepState for ds in found] == ["SCHEDULED"] * 3
        assert "ANALYSIS FAILED" in found[1].ProcedureStepLabel
        assert "not negative" in found[2].ProcedureStepLabel


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"ScheduledProcedureStepPriority": "HIGH"}, [FLAGGED]),
        ({"ScheduledProcedureStepPriority": "MEDIUM"}, [FAILED]),
        ({"ProcedureStepState": "IN PROGRESS"}, []),
        ({"ProcedureStepState": "SCHEDULED", "PatientID": "P3"}, [LOW]),
        ({"StudyInstanceUID": "1.2.2"}, [FAILED]),
        ({"SOPInstanceUID": [LOW, FAILED]}, [FAILED, LOW]),
        ({"ScheduledProcedureStepStartDateTime": "20260101-20260103"}, [FLAGGED, FAILED, LOW]),
        ({"ScheduledProcedureStepStartDateTime": "20260103-"}, []),
        ({"ScheduledProcedureStepStartDateTime": "20260102030000+0000-20260102030400+0000"}, None),
        ({"InputReadinessState": "INCOMPLETE"}, []),
    ],
)
def test_which_steps_a_question_finds(port: int, keys: dict[str, object], found: list[str] | None) -> None:
    """By state, priority, patient, study and time; a time with an offset from UTC is that moment."""
    with asking(port, PULL) as reader:
        told = [ds.SOPInstanceUID for ds in steps(reader, **keys)]
        assert told == ([FLAGGED, FAILED, LOW] if found is None else found)


def test_a_key_within_a_sequence(port: int) -> None:
    """A question for an accession number in the request finds the step."""
    with asking(port, PULL) as reader:
        for accession, found in (("A-1", [FLAGGED]), ("A-2", [])):
            request = [identifier(AccessionNumber=accession)]
            told = steps(reader, ReferencedRequestSequence=request)
            assert [ds.SOPInstanceUID for ds in told] == found


@pytest.mark.peer
def test_dcmtk_reads_steps_and_their_priority(port: int, tmp_path: Path) -> None:
    """Every step, in reading order; then those alone that are HIGH, and of completed ones none."""
    findscu = findscu_of_any_model(tmp_path)

    def asked(*keys: str, model: str = PULL) -> str:
        wanted = ("SOPInstanceUID", "ProcedureStepState", "PatientName")
        command = [str(findscu), model, "DCMTK", AE_TITLE, "127.0.0.1", str(port), *wanted, *keys]
        told = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=60)
        return told.stdout

    told = asked("ScheduledProcedureStepPriority")
    assert answered_values(told, "(0008,0018)") == [FLAGGED, FAILED, LOW]
    assert answered_values(told, "(0074,1200)") == ["HIGH", "MEDIUM", "LOW"]
    assert answered_values(told, "(0074,1000)") == ["SCHEDULED"] * 3
    assert answered_values(told, "(0010,0010)")[0] == "Doe^John"
    high = asked("ScheduledProcedureStepPriority=HIGH", model=WATCH)
    assert answered_values(high, "(0008,0018)") == [FLAGGED]
    assert asked("ProcedureStepState=COMPLETED") == ""


def test_every_step_class_can_ask(port: int) -> None:
    """UPS Pull, Watch and Query have the same answers."""
    with asking(port, PULL, WATCH, UnifiedProcedureStepQuery) as peer:
        for model in (PULL, WATCH, UnifiedProcedureStepQuery):
            status, found = find(peer, identifier(SOPInstanceUID=FLAGGED), model)
            assert (status, len(found)) == (0, 1)


def test_a_whole_step(port: int) -> None:
    """N-GET tells patient, study, images to read, what the model said, and never the reader's key."""
    with asking(port, PULL) as reader:
        assert change(reader, FLAGGED, "IN PROGRESS", KEY) == 0
        status, ds = get(reader, FLAGGED)
    assert status == 0 and ds is not None
    assert (ds.PatientName, ds.PatientID, ds.StudyInstanceUID) == ("Doe^John", "P1", "1.2.1")
    assert ds.SOPClassUID == UnifiedProcedureStepPush
    (images,) = ds.InputInformationSequence
    assert (images.StudyInstanceUID, images.SeriesInstanceUID) == ("1.2.1", "1.2.1.1")
    assert len(images.ReferencedSOPSequence) == 2
    assert "Suspected: SDH, SAH" in ds.CommentsOnTheScheduledProcedureStep
    assert "not flagged is not negative" in ds.CommentsOnTheScheduledProcedureStep
    assert ds.ScheduledWorkitemCodeSequence[0].CodeMeaning == "Interpretation"
    assert ds[0x0099, 0x1001].value in ("FLAGGED", b"FLAGGED ")
    assert "TransactionUID" not in ds


def test_named_attributes_alone(port: int) -> None:
    """N-GET gives what it is asked for; for what a step does not have the status says so."""
    with asking(port, PULL) as reader:
        status, ds = get(reader, LOW, "ScheduledProcedureStepPriority")
        assert status == 0 and ds is not None
        assert {each.keyword for each in ds} == {"SpecificCharacterSet", "ScheduledProcedureStepPriority"}
        status, ds = get(reader, LOW, "TransactionUID", "ProcedureStepState")
        assert status == 0x0001 and ds is not None
        assert "TransactionUID" not in ds


def test_a_reader_claims_reports_and_completes(port: int) -> None:
    """What the reader sets is kept; what it leaves out and the final state needs is filled in."""
    with capture_logs() as logs, asking(port, PULL, calling="WORKSTATION") as reader:
        assert change(reader, FLAGGED, "IN PROGRESS", KEY) == 0
        progress = [identifier(ProcedureStepProgress="50")]
        assert (
            set_performed(
                reader, FLAGGED, TransactionUID=KEY, ProcedureStepProgressInformationSequence=progress
            )
            == 0
        )
        assert change(reader, FLAGGED, "COMPLETED", KEY) == 0
        _, ds = get(reader, FLAGGED)
    assert ds is not None
    assert ds.ProcedureStepState == "COMPLETED"
    assert ds.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == 50
    (performed,) = ds.UnifiedProcedureStepPerformedProcedureSequence
    assert performed.PerformedStationNameCodeSequence[0].CodeValue == "WORKSTATION"
    assert performed.PerformedWorkitemCodeSequence[0].CodeMeaning == "Interpretation"
    assert performed.PerformedProcedureStepStartDateTime <= performed.PerformedProcedureStepEndDateTime
    assert "OutputInformationSequence" in performed
    audited = [line for line in logs if line.get("audit")]
    assert [line["event"] for line in audited] == ["step_changed"] * 3 + ["queried"]
    assert {line["ae_title"] for line in audited} == {"WORKSTATION"}
    assert len({line.get("study_instance_uid") for line in audited[:3]} - {None}) == 1


def test_a_reader_gives_up(port: int) -> None:
    """IN PROGRESS to CANCELED, with a time and a reason."""
    with asking(port, PULL) as reader:
        assert change(reader, FLAGGED, "IN PROGRESS", KEY) == 0
        assert change(reader, FLAGGED, "CANCELED", KEY) == 0
        _, ds = get(reader, FLAGGED)
    assert ds is not None and ds.ProcedureStepState == "CANCELED"
    (progress,) = ds.ProcedureStepProgressInformationSequence
    assert progress.ProcedureStepCancellationDateTime
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"


def test_of_readers_who_claim_at_the_same_time_one_gets_it(port: int) -> None:
    """On associations of their own, let loose together; the others are told that it is in progress."""
    readers = 4
    together = Barrier(readers)

    def claim(number: int) -> int:
        with asking(port, PULL, calling=f"READER{number}") as reader:
            together.wait(30)
            return change(reader, FLAGGED, "IN PROGRESS", generate_uid())

    with ThreadPoolExecutor(readers) as pool:
        statuses = sorted(pool.map(claim, range(readers)))
    assert statuses == [0x0000] + [0xC302] * (readers - 1)


def test_what_a_step_refuses(port: int) -> None:
    """PS3.4 Table CC.1.1-2, row by row."""
    with asking(port, PULL) as reader:

        def to(state: str, key: str | None = KEY, uid: str = FLAGGED) -> int:
            return change(reader, uid, state, key)

        assert to("IN PROGRESS", uid="9.9.9") == 0xC307
        assert to("COMPLETED", uid="9.9.9") == 0xC307
        assert to("IN PROGRESS", None) == 0xC301
        assert to("IN PROGRESS", "not a uid") == 0xC301
        assert to("SCHEDULED") == 0xC303
        assert to("READING") == 0x0115
        assert to("COMPLETED") == 0xC310
        assert to("CANCELED") == 0xC310
        assert to("IN PROGRESS") == 0
        assert to("IN PROGRESS", "1.9") == 0xC302
        assert to("COMPLETED", "1.9") == 0xC301
        assert to("COMPLETED", None) == 0xC301
        assert to("COMPLETED") == 0
        assert to("COMPLETED") == 0xB306
        assert to("COMPLETED", "1.9") == 0xC301
        assert to("CANCELED") == 0xC300
        assert to("IN PROGRESS") == 0xC300
        assert to("IN PROGRESS", uid=LOW) == 0
        assert to("CANCELED", uid=LOW) == 0
        assert to("CANCELED", uid=LOW) == 0xB304
        assert to("COMPLETED", uid=LOW) == 0xC300


def test_what_may_be_set_and_by_whom(port: int) -> None:
    """Only the reader who has claimed the step, while it reads, and nothing of what triage says."""
    progress = {"ProcedureStepProgressInformationSequence": [identifier(ProcedureStepProgress="1")]}
    with asking(port, PULL) as reader:
        assert set_performed(reader, "9.9.9", TransactionUID=KEY, **progress) == 0xC307
        assert set_performed(reader, FLAGGED, TransactionUID=KEY, **progress) == 0xC310
        assert change(reader, FLAGGED, "IN PROGRESS", KEY) == 0
        assert set_performed(reader, FLAGGED, **progress) == 0xC301
        assert set_performed(reader, FLAGGED, TransactionUID="1.9", **progress) == 0xC301
        lowered = {"ScheduledProcedureStepPriority": "LOW", "TransactionUID": KEY}
        assert set_performed(reader, FLAGGED, **lowered) == 0x0001
        (told,) = steps(reader, SOPInstanceUID=FLAGGED, ScheduledProcedureStepPriority="")
        assert told.ScheduledProcedureStepPriority == "HIGH"
        long = [identifier(ProcedureStepProgressDescription="x" * 30_000)] * 3
        much = {"TransactionUID": KEY, "ProcedureStepProgressInformationSequence": long}
        assert set_performed(reader, FLAGGED, **much) == 0x0213
        assert change(reader, FLAGGED, "COMPLETED", KEY) == 0
        assert set_performed(reader, FLAGGED, TransactionUID=KEY, **progress) == 0xC300


def test_a_step_that_nobody_reads_is_canceled_on_request(port: int) -> None:
    """Request UPS Cancel; a second one is told so, and one for a completed step is refused."""
    with asking(port, PULL) as peer:
        assert act(peer, 2, LOW, ReasonForCancellation="read elsewhere") == 0
        _, ds = get(peer, LOW)
        assert ds is not None and ds.ProcedureStepState == "CANCELED"
        (progress,) = ds.ProcedureStepProgressInformationSequence
        assert progress.ReasonForCancellation == "read elsewhere"
        why = {"ReasonForCancellation": "no need"}
        assert act(peer, 2, LOW, **why) == 0xB304
        assert act(peer, 2, "9.9.9", **why) == 0xC307
        assert change(peer, FLAGGED, "IN PROGRESS", KEY) == 0
        assert act(peer, 2, FLAGGED, **why) == 0xC312
        assert change(peer, FLAGGED, "COMPLETED", KEY) == 0
        assert act(peer, 2, FLAGGED, **why) == 0xC311


def test_unknown_actions_and_creation_are_refused(port: int) -> None:
    """There are five actions, and steps are made by triage alone; the association goes on."""
    with asking(port, PULL) as peer:
        assert act(peer, 9, FLAGGED, ReceivingAE="X") == 0x0123
        status, _ = peer.send_n_create(
            identifier(ProcedureStepState="SCHEDULED"), UnifiedProcedureStepPush, "1.2.9", meta_uid=PULL
        )
        assert status.Status == 0x0124
        assert peer.send_c_echo().Status == 0


def test_a_watcher_of_one_step_hears_of_it(listed: Database, watcher: Watcher, wait_until: Wait) -> None:
    """Its state at once, then each change, and nothing of other steps."""
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, PULL) as peer:
        assert act(peer, 3, FLAGGED, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0
        assert change(peer, LOW, "IN PROGRESS", KEY) == 0
        assert change(peer, FLAGGED, "IN PROGRESS", KEY) == 0
        progress = {"ProcedureStepProgressInformationSequence": [identifier(ProcedureStepProgress="9")]}
        assert set_performed(peer, FLAGGED, TransactionUID=KEY, **progress) == 0
        assert act(peer, 2, FLAGGED, ReasonForCancellation="no need") == 0
        assert change(peer, FLAGGED, "COMPLETED", KEY) == 0
        wait_until(lambda: len(watcher.events) >= 5, what="five events")
    assert watcher.of(FLAGGED) == [
        (1, "SCHEDULED"),
        (1, "IN PROGRESS"),
        (3, ""),
        (2, ""),
        (1, "COMPLETED"),
    ]
    assert not watcher.of(LOW)
    first, asked = watcher.events[0][2], watcher.events[3][2]
    assert (first.InputReadinessState, first.ScheduledProcedureStepPriority) == ("READY", "HIGH")
    assert (asked.RequestingAE, asked.ReasonForCancellation) == ("READER", "no need")


def test_a_watcher_of_all_hears_of_new_studies_and_priorities(
    listed: Database, watcher: Watcher, wait_until: Wait
) -> None:
    """With the lock every step at once; then a new study while it is received, and the flag when it comes."""
    new = step_uid("1.2.9", 1)
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, WATCH) as peer:
        status, _ = peer.send_n_action(
            identifier(ReceivingAE="WATCHER", DeletionLock="TRUE"),
            3,
            UnifiedProcedureStepPush,
            GLOBAL,
            meta_uid=WATCH,
        )
        assert status.Status == 0
        wait_until(lambda: {uid for uid, _, _ in watcher.events} == {FLAGGED, FAILED, LOW}, what="greetings")
        add_study(listed, "1.2.9", StudyState.RECEIVING, assembling_since=datetime.now(UTC))
        wait_until(lambda: watcher.of(new), what="the new study")
        assert watcher.events[-1][2].ScheduledProcedureStepPriority == "MEDIUM"
        assert watcher.events[-1][2].InputReadinessState == "INCOMPLETE"
        with listed.write() as session:
            study = studies.get(session, "1.2.9", lock=True)
            study.assembling_since = None
            studies.set_state(study, StudyState.FLAGGED)
        wait_until(lambda: len(watcher.of(new)) >= 2, what="the flag")
    told = watcher.events[-1][2]
    assert told.ScheduledProcedureStepPriority == "HIGH"
    assert told.InputReadinessState == "READY"
    assert len(watcher.events) == 5


def test_subscriptions_are_ended_and_suspended(listed: Database, watcher: Watcher, wait_until: Wait) -> None:
    """Unsubscribed from one step, suspended for new ones, then unsubscribed from all."""
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, PULL) as peer:
        assert act(peer, 3, GLOBAL, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0
        assert act(peer, 4, LOW, ReceivingAE="WATCHER") == 0
        assert act(peer, 5, GLOBAL, ReceivingAE="WATCHER") == 0
        add_study(listed, "1.2.9", StudyState.RECEIVING)
        wait_until(lambda: steps(peer, SOPInstanceUID=step_uid("1.2.9", 1)), what="the new step")
        assert change(peer, LOW, "IN PROGRESS", KEY) == 0
        assert change(peer, step_uid("1.2.9", 1), "IN PROGRESS", KEY) == 0
        assert change(peer, FLAGGED, "IN PROGRESS", KEY) == 0
        wait_until(lambda: watcher.events, what="the one event that is left")
        assert act(peer, 4, GLOBAL, ReceivingAE="WATCHER") == 0
        assert change(peer, FLAGGED, "COMPLETED", KEY) == 0
        with listed.read() as session:
            wait_until(lambda: session.query(StepEvent).count() == 0, what="no event on its way")
    assert [(uid, ds.ProcedureStepState) for uid, _, ds in watcher.events] == [(FLAGGED, "IN PROGRESS")]


@pytest.mark.parametrize(
    ("action", "uid", "information", "status"),
    [
        (3, FLAGGED, {"ReceivingAE": "NOBODY", "DeletionLock": "FALSE"}, 0xC308),
        (3, FLAGGED, {"DeletionLock": "FALSE"}, 0xC308),
        (3, FLAGGED, {"ReceivingAE": "WATCHER", "DeletionLock": "PERHAPS"}, 0x0115),
        (3, "9.9.9", {"ReceivingAE": "WATCHER", "DeletionLock": "FALSE"}, 0xC307),
        (
            3,
            UPSFilteredGlobalSubscriptionInstance,
            {"ReceivingAE": "WATCHER", "DeletionLock": "FALSE"},
            0xC307,
        ),
        (4, "9.9.9", {"ReceivingAE": "WATCHER"}, 0xC307),
        (4, GLOBAL, {"ReceivingAE": "NOBODY"}, 0xC308),
        (5, FLAGGED, {"ReceivingAE": "WATCHER"}, 0xC307),
    ],
)
def test_subscriptions_that_are_refused(
    listed: Database, dead_port: int, action: int, uid: str, information: dict[str, str], status: int
) -> None:
    """Who is not in the configuration, what is no step, and what is no lock."""
    table = Watcher("WATCHER", dead_port).table
    with answering(listed, subscribers=[table]) as service, asking(service.port, PULL) as peer:
        assert act(peer, action, uid, **information) == status


def test_events_wait_for_a_watcher_and_outlast_a_restart(
    listed: Database, free_port: int, wait_until: Wait
) -> None:
    """A watcher that is away, or answers with a failure, gets every event in order once it takes them."""
    watcher = Watcher("WATCHER", free_port)
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, PULL) as peer:
        assert act(peer, 3, FLAGGED, ReceivingAE="WATCHER", DeletionLock="TRUE") == 0
        assert change(peer, FLAGGED, "IN PROGRESS", KEY) == 0
        wait_until(lambda: _attempts(listed) > 0, what="an attempt")
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, PULL) as peer:
        assert change(peer, FLAGGED, "COMPLETED", KEY) == 0
        watcher.answer = 0x0110
        with watcher.listening():
            before = _attempts(listed)
            wait_until(lambda: _attempts(listed) > before, what="an attempt that is refused")
            watcher.answer = 0x0000
            wait_until(lambda: len(watcher.events) >= 3, what="the events")
            wait_until(lambda: _waiting(listed) == 0, what="nothing on its way")
    assert watcher.of(FLAGGED) == [(1, "SCHEDULED"), (1, "IN PROGRESS"), (1, "COMPLETED")]


def test_an_event_that_is_refused_for_good_does_not_hold_back_the_next(
    listed: Database, watcher: Watcher, wait_until: Wait
) -> None:
    """A receiver that knows no such step (0112) is not asked again; it hears of what follows."""
    watcher.answer = 0x0112
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, PULL) as peer:
        assert act(peer, 3, FLAGGED, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0
        wait_until(lambda: _waiting(listed) == 0, what="the refusal")
        watcher.answer = 0x0000
        assert change(peer, FLAGGED, "IN PROGRESS", KEY) == 0
        wait_until(lambda: watcher.events, what="the next event")
    assert watcher.of(FLAGGED) == [(1, "IN PROGRESS")]


def test_two_processes_tell_once(listed: Database, watcher: Watcher, wait_until: Wait) -> None:
    """A new study and its flag are one event each, however many processes look."""
    table, new = watcher.table, step_uid("1.2.9", 1)
    with answering(listed, subscribers=[table]) as one, answering(listed, subscribers=[table]):
        with asking(one.port, PULL) as peer:
            assert act(peer, 3, GLOBAL, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0
        add_study(listed, "1.2.9", StudyState.IN_PROGRESS)
        wait_until(lambda: watcher.of(new), what="the new study")
        with listed.write() as session:
            studies.set_state(studies.get(session, "1.2.9", lock=True), StudyState.FLAGGED)
        wait_until(lambda: len(watcher.of(new)) >= 2 and not _waiting(listed), what="the flag")
    assert len(watcher.events) == 2


def test_who_has_left_the_configuration_is_told_nothing_and_keeps_its_subscription(
    listed: Database, watcher: Watcher, wait_until: Wait
) -> None:
    """Events do not pile up for it; once it is back, it hears of changes again."""
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, PULL) as peer:
        assert act(peer, 3, GLOBAL, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0
    with answering(listed) as service, asking(service.port, PULL) as peer:
        assert change(peer, FLAGGED, "IN PROGRESS", KEY) == 0
        wait_until(lambda: _waiting(listed) == 0, what="nothing on its way")
    with answering(listed, subscribers=[watcher.table]) as service, asking(service.port, PULL) as peer:
        assert change(peer, FLAGGED, "COMPLETED", KEY) == 0
        wait_until(lambda: watcher.events, what="the event")
    assert watcher.of(FLAGGED) == [(1, "COMPLETED")]


def _attempts(database: Database) -> int:
    with database.read() as session:
        return sum(event.attempts for event in session.query(StepEvent))


def test_steps_that_nobody_has_claimed_leave_the_list_with_age(sqlite: Database) -> None:
    """Studies of long ago are told to those who ask by UID or date, and as long as somebody reads them."""
    for number, minutes in enumerate((1, 2)):
        add_study(sqlite, f"1.2.{number}", StudyState.FLAGGED, minutes=minutes)
    old, older = step_uid("1.2.0", 1), step_uid("1.2.1", 1)
    with answering(sqlite, hours=1) as service, asking(service.port, PULL) as reader:

        def told(**keys: object) -> list[str]:
            return [ds.SOPInstanceUID for ds in steps(reader, **keys)]

        assert told() == told(ProcedureStepState="SCHEDULED") == []
        assert told(SOPInstanceUID=old) == told(StudyInstanceUID="1.2.0") == [old]
        assert told(ScheduledProcedureStepStartDateTime="20260101-") == [older, old]
        assert change(reader, old, "IN PROGRESS", KEY) == 0
        assert told() == [old]
    with answering(sqlite, max_answers=1) as service, asking(service.port, PULL) as reader:
        asked = identifier(SOPInstanceUID="", ProcedureStepState="")
        assert [ds.SOPInstanceUID for ds in find(reader, asked, PULL)[1]] == [old]


def _waiting(database: Database) -> int:
    with database.read() as session:
        return session.query(StepEvent).count()


def test_a_step_whose_reader_has_gone_is_scheduled_anew(
    listed: Database, watcher: Watcher, wait_until: Wait
) -> None:
    """The claim is canceled with a reason, its watcher hears of it, and a second step asks for a reader."""
    second = step_uid("1.2.1", 2)
    with (
        answering(listed, claim_limit_h=1 / 3600, subscribers=[watcher.table]) as service,
        asking(service.port, PULL) as reader,
    ):
        assert act(reader, 3, FLAGGED, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0
        assert change(reader, FLAGGED, "IN PROGRESS", KEY) == 0
        wait_until(lambda: len(steps(reader, StudyInstanceUID="1.2.1")) == 2, what="the second step")
        wait_until(lambda: len(watcher.of(FLAGGED)) == 3, what="what the watcher hears")
        assert change(reader, FLAGGED, "COMPLETED", KEY) == 0xC300
        found = steps(reader, StudyInstanceUID="1.2.1")
        _, ds = get(reader, FLAGGED)
    assert [(each.SOPInstanceUID, each.ProcedureStepState) for each in found] == [
        (second, "SCHEDULED"),
        (FLAGGED, "CANCELED"),
    ]
    assert ds is not None
    assert "silent" in ds.ProcedureStepProgressInformationSequence[0].ReasonForCancellation
    assert watcher.events[-1][2].ProcedureStepState == "CANCELED"


def test_a_study_that_is_flagged_after_it_was_read_is_to_be_read_again(
    listed: Database, port: int, wait_until: Wait
) -> None:
    """The completed step stays as it is; a second one, HIGH, asks for another look."""
    with asking(port, PULL) as reader:
        assert change(reader, LOW, "IN PROGRESS", KEY) == 0
        assert change(reader, LOW, "COMPLETED", KEY) == 0
        with listed.write() as session:
            study = studies.get(session, "1.2.3", lock=True)
            session.add(add_revision(study, StudyState.FLAGGED))
            studies.set_state(study, StudyState.FLAGGED)
        wait_until(lambda: len(steps(reader, StudyInstanceUID="1.2.3")) == 2, what="the second step")
        found = steps(reader, StudyInstanceUID="1.2.3", ScheduledProcedureStepPriority="")
    assert [(ds.SOPInstanceUID, ds.ProcedureStepState) for ds in found] == [
        (step_uid("1.2.3", 2), "SCHEDULED"),
        (LOW, "COMPLETED"),
    ]
    assert rank(StudyState.FLAGGED, stat=False) == 2
