"""Deliveries: claimed by one, retried with patience, never lost from sight."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
from sqlalchemy import select

from ich_triage.domain.commitment import CommitmentResult
from ich_triage.domain.states import DeliveryState, OutputKind, StudyState
from ich_triage.settings import Delivery as Policy
from ich_triage.store import deliveries
from ich_triage.store.database import Database
from ich_triage.store.deliveries import Planned
from ich_triage.store.tables import Delivery, Revision
from tests.rows import add_revision, later_revision

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
POLICY = Policy(backoff_s=2, backoff_max_s=60, max_attempts=4)
FLAGGED, OTHER, FAILED = StudyState.FLAGGED, StudyState.NOT_FLAGGED, StudyState.FAILED


def plan(database: Database, *uids: str, study: str = "1.2.3", flagged: bool = True) -> list[int]:
    """One pending delivery to `pacs` for each SOP Instance UID, in one revision; returns their ids."""
    with database.write() as session:
        revision = add_revision(session, study, StudyState.FLAGGED if flagged else StudyState.NOT_FLAGGED)
        deliveries.plan(session, revision, [planned(uid) for uid in uids])
        session.flush()
        of_revision = select(Delivery.id).where(Delivery.revision_id == revision.id)
        return list(session.scalars(of_revision.order_by(Delivery.id)))


def planned(uid: str, *, kind: OutputKind = OutputKind.SR, destination: str = "pacs") -> Planned:
    """One object, by default for `pacs`."""
    return Planned(
        destination=destination, kind=kind, sop_class_uid="1.2.840", sop_instance_uid=uid, path=uid
    )


def claim(
    database: Database, worker: str = "w", *, now: datetime | None = None, limit: int = 100
) -> list[int]:
    """Ids that `worker` gets for 10 s."""
    with database.write() as session:
        taken = deliveries.claim_due(
            session, "pacs", worker_id=worker, now=now or datetime.now(UTC), limit=limit, lease_s=10
        )
        return [each.id for each in taken]


def row(database: Database, delivery_id: int) -> Delivery:
    """The delivery as it is now."""
    with database.read() as session:
        return session.get_one(Delivery, delivery_id)


def test_a_planned_object_is_planned_once(database: Database) -> None:
    """A stage that is repeated adds nothing, and leaves what was sent as it is."""
    (first,) = plan(database, "1")
    with database.write() as session:
        deliveries.mark_sent(session, first, now=NOW, commitment=False)
        revision = session.scalars(select(Revision)).one()
        deliveries.plan(session, revision, [planned("1"), planned("2")])
    with database.read() as session:
        found = deliveries.of_study(session, "1.2.3")
    assert [(each.sop_instance_uid, each.state) for each in found] == [("1", "sent"), ("2", "pending")]


def test_two_workers_never_get_the_same(database: Database) -> None:
    """Eight threads claim a hundred deliveries at once; each goes to exactly one."""
    ids = plan(database, *(str(number) for number in range(100)))
    start, got = Barrier(8), [[] for _ in range(8)]  # type: list[list[int]]

    def work(number: int) -> None:
        start.wait()
        while taken := claim(database, f"w{number}", limit=7):
            got[number] += taken

    threads = [Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(id_ for taken in got for id_ in taken) == ids


def test_a_claim_runs_out_unless_renewed(database: Database) -> None:
    """What a dead worker held is free again after its lease; a living one keeps it."""
    (only,) = plan(database, "1")
    start = datetime.now(UTC)
    assert claim(database, "dead", now=start) == [only]
    assert claim(database, "other", now=start + timedelta(seconds=9)) == []
    with database.write() as session:
        deliveries.renew(session, ["dead"], until=start + timedelta(seconds=30))
    assert claim(database, "other", now=start + timedelta(seconds=20)) == []
    assert claim(database, "other", now=start + timedelta(seconds=31)) == [only]


def test_flagged_studies_go_first(database: Database) -> None:
    """After a PACS was away, the reports of suspected bleeds are sent before the rest."""
    (old,) = plan(database, "old", study="1.1", flagged=False)
    (urgent,) = plan(database, "new", study="1.2", flagged=True)
    assert claim(database, "one", limit=1) == [urgent]
    with database.write() as session:
        deliveries.release(session, "one")
    assert claim(database) == [urgent, old]


def test_a_message_does_not_overtake_an_earlier_one_of_its_study(database: Database) -> None:
    """What another worker is about to send goes first; other studies and objects do not wait for it."""
    with database.write() as session:
        first = add_revision(session, "1.2.3", OTHER)
        deliveries.plan(session, first, [planned("1", kind=OutputKind.HL7), planned("2")])
        session.flush()
    (earlier, report) = claim(database, "one")
    with database.write() as session:
        study = session.get_one(Delivery, earlier).revision.study
        second = later_revision(session, study, FLAGGED)
        deliveries.plan(session, second, [planned("3", kind=OutputKind.HL7), planned("4")])
        session.flush()
        (_, _, later, later_report) = (each.id for each in deliveries.of_study(session, "1.2.3"))
    assert claim(database, "two") == [later_report]
    with database.write() as session:
        for each in (earlier, report):
            deliveries.mark_sent(session, each, now=NOW, commitment=False)
        deliveries.release(session, "one")
    assert claim(database, "two") == [later]


def test_a_worker_sends_the_messages_of_a_study_in_their_order(database: Database) -> None:
    """Both in one batch; and an earlier one that waits for its next attempt holds nothing back."""
    with database.write() as session:
        first = add_revision(session, "1.2.3", OTHER)
        deliveries.plan(session, first, [planned("1", kind=OutputKind.HL7)])
        deliveries.plan(
            session, later_revision(session, first.study, FLAGGED), [planned("2", kind=OutputKind.HL7)]
        )
        session.flush()
        earlier, later = (each.id for each in deliveries.of_study(session, "1.2.3"))
    assert claim(database, "one") == [earlier, later]
    with database.write() as session:
        deliveries.mark_failed(session, [earlier], error="away", policy=POLICY, now=datetime.now(UTC))
        deliveries.release(session, "one")
    assert claim(database, "two") == [later]


def test_back_off_grows_until_the_dead_letter(database: Database) -> None:
    """Waits double within their jitter, the reason stays visible, the last attempt leaves a dead letter."""
    (only,) = plan(database, "1")
    waits = []
    for _ in range(POLICY.max_attempts):
        with database.write() as session:
            deliveries.mark_failed(session, [only], error="refused: status 0xA700", policy=POLICY, now=NOW)
        if (due := row(database, only).next_attempt_at) is not None:
            waits.append((due - NOW).total_seconds())
    assert [pytest.approx(expected, rel=0.25) for expected in (2, 4, 8)] == waits
    dead = row(database, only)
    assert (dead.state, dead.attempts, dead.last_error) == ("dead", 4, "refused: status 0xA700")
    assert claim(database, now=NOW + timedelta(days=365)) == []


def test_a_pacs_that_is_away_for_a_day_costs_no_report(sqlite: Database) -> None:
    """With the default policy a report is tried for a day, and within ten minutes of the PACS's return."""
    (only,) = plan(sqlite, "1")
    began = now = datetime.now(UTC)
    policy, waits = Policy(), []
    while now < began + timedelta(hours=20):
        assert claim(sqlite, now=now) == [only]
        with sqlite.write() as session:
            deliveries.mark_failed(session, [only], error="no connection", policy=policy, now=now)
        due = row(sqlite, only).next_attempt_at
        assert due is not None
        waits.append((due - now).total_seconds())
        now = due
    assert max(waits) <= 1.25 * policy.backoff_max_s
    assert row(sqlite, only).state == DeliveryState.PENDING


def test_a_clock_that_was_set_back_lets_nothing_wait(database: Database) -> None:
    """What was due soon by the old time is due now, and a dead worker's claim runs out as if made now."""
    (taken,) = plan(database, "1")
    (failed,) = plan(database, "2", study="1.2.4")
    claim(database, "dead", limit=1)
    now = datetime.now(UTC)
    with database.write() as session:
        deliveries.mark_failed(session, [failed], error="no connection", policy=POLICY, now=now)
    before = now - timedelta(hours=1)
    assert claim(database, now=before) == []
    with database.write() as session:
        deliveries.bring_forward(session, now=before, until=before + timedelta(seconds=10))
    assert claim(database, now=before) == [failed]
    assert claim(database, now=before + timedelta(seconds=11)) == [taken, failed]


def test_a_destination_that_asks_for_time_gets_it_within_the_policy(database: Database) -> None:
    """The longer of the two waits counts, and never more than the policy's longest."""
    for asked, shortest, longest in ((1.0, 1.5, 2.5), (30.0, 30.0, 30.0), (3600.0, 60.0, 60.0)):
        (only,) = plan(database, str(asked), study=f"1.{asked}")
        with database.write() as session:
            deliveries.mark_failed(session, [only], error="status 503", policy=POLICY, now=NOW, wait_s=asked)
        due = row(database, only).next_attempt_at
        assert due and shortest <= (due - NOW).total_seconds() <= longest


@pytest.mark.parametrize(
    ("kind", "first", "second", "obsolete"),
    [
        (OutputKind.HL7, FLAGGED, FLAGGED, True),
        (OutputKind.HL7, FLAGGED, OTHER, True),
        (OutputKind.HL7, FLAGGED, FAILED, False),
        (OutputKind.HL7, OTHER, FAILED, True),
        (OutputKind.WEBHOOK, FAILED, FLAGGED, True),
        (OutputKind.SR, OTHER, FLAGGED, False),
    ],
)
def test_a_later_message_makes_an_earlier_one_obsolete(
    database: Database, kind: OutputKind, first: StudyState, second: StudyState, obsolete: bool
) -> None:
    """Never an object, and never a flag for want of an analysis."""
    with database.write() as session:
        revisions = [add_revision(session, "1.2.3", first)]
        revisions.append(later_revision(session, revisions[0].study, second))
        for number, revision in enumerate(revisions):
            deliveries.plan(session, revision, [planned(str(number), kind=kind)])
        session.flush()
        earlier, later = (each.id for each in deliveries.of_study(session, "1.2.3"))
        assert [deliveries.supersede(session, each) for each in (earlier, later)] == [obsolete, False]
    assert row(database, earlier).state == ("superseded" if obsolete else "pending")
    assert row(database, later).state == "pending"


def test_messages_of_other_studies_and_destinations_make_nothing_obsolete(database: Database) -> None:
    """Only the same destination's later message of the same study counts."""
    with database.write() as session:
        first = add_revision(session, "1.2.3", OTHER)
        deliveries.plan(session, first, [planned("1", kind=OutputKind.HL7)])
        later = later_revision(session, first.study, FLAGGED)
        deliveries.plan(session, later, [planned("2", kind=OutputKind.HL7, destination="other")])
        deliveries.plan(session, later, [planned("3", kind=OutputKind.WEBHOOK)])
        stranger = later_revision(session, add_revision(session, "1.9", OTHER).study, FLAGGED)
        deliveries.plan(session, stranger, [planned("4", kind=OutputKind.HL7)])
        session.flush()
        ids = [each.id for uid in ("1.2.3", "1.9") for each in deliveries.of_study(session, uid)]
        assert not any(deliveries.supersede(session, each) for each in ids)


def test_redeliver_starts_afresh(database: Database) -> None:
    """Dead, sent and committed deliveries of the study are pending again; other studies stay."""
    ids = plan(database, "1", "2")
    plan(database, "3", study="1.9")
    with database.write() as session:
        deliveries.mark_dead(session, ids[0], error="gone")
        deliveries.mark_sent(session, ids[1], now=NOW, commitment=False)
        assert deliveries.redeliver(session, "1.2.3", destination="elsewhere", now=NOW) == 0
        assert deliveries.redeliver(session, "1.2.3", destination=None, now=NOW) == 2
    assert [row(database, each).state for each in ids] == ["pending", "pending"]
    assert row(database, ids[1]).sent_at == NOW  # the ledger keeps when it was first stored


def test_all_dead_letters_go_again_and_nothing_else(database: Database) -> None:
    """After a PACS was away for days: those of every study, of one destination where one is named."""
    (dead,) = plan(database, "1")
    (sent,) = plan(database, "2", study="1.2.4")
    with database.write() as session:
        deliveries.mark_dead(session, dead, error="no connection")
        deliveries.mark_sent(session, sent, now=NOW, commitment=False)
    with database.write() as session:
        assert deliveries.redeliver_dead(session, destination="other", now=NOW) == 0
        assert deliveries.redeliver_dead(session, destination=None, now=NOW) == 1
    assert (row(database, dead).state, row(database, sent).state) == ("pending", "sent")


def test_what_waits_for_a_removed_destination_says_so(database: Database) -> None:
    """It becomes a dead letter that names the destination; what was sent there before is left alone."""
    waiting, sent = plan(database, "1", "2")
    with database.write() as session:
        deliveries.mark_sent(session, sent, now=NOW, commitment=False)
        assert deliveries.give_up_elsewhere(session, ["archive"]) == 1
    assert row(database, waiting).state == "dead"
    assert "pacs is not in the configuration" in (row(database, waiting).last_error or "")
    assert row(database, sent).state == "sent"


def ask(database: Database, ids: Collection[int], transaction: str) -> None:
    """Commitment is asked for, and answered within an hour or not at all."""
    with database.write() as session:
        deliveries.commitment_requested(
            session, ids, transaction_uid=transaction, answer_due_at=NOW + timedelta(hours=1)
        )


@pytest.fixture
def answer(database: Database) -> Callable[..., None]:
    """The destination answers a transaction."""

    def send(transaction: str, committed: Collection[str] = (), **failed: int) -> None:
        result = CommitmentResult(
            transaction_uid=transaction,
            committed=frozenset(committed),
            failed={uid.removeprefix("uid"): reason for uid, reason in failed.items()},
        )
        with database.write() as session:
            deliveries.commitment_result(session, result, policy=POLICY, now=NOW)

    return send


def test_commitment_ends_a_delivery(database: Database, answer: Callable[..., None]) -> None:
    """Of two objects in one transaction one is committed, the other is sent again."""
    ids = plan(database, "1", "2")
    with database.write() as session:
        for each in ids:
            deliveries.mark_sent(session, each, now=NOW, commitment=True)
    ask(database, ids, "9.9")
    answer("9.9", ["1"], uid2=0x0112)
    kept, lost = (row(database, each) for each in ids)
    assert (kept.state, kept.committed_at, kept.next_attempt_at) == ("committed", NOW, None)
    assert (lost.state, lost.last_error) == ("pending", "not committed: failure reason 0x0112")


def test_an_answer_to_an_abandoned_request_is_ignored(
    database: Database, answer: Callable[..., None]
) -> None:
    """A late failure must not undo what a newer request has settled, nor must a stranger's answer."""
    (only,) = plan(database, "1")
    with database.write() as session:
        deliveries.mark_sent(session, only, now=NOW, commitment=True)
    ask(database, [only], "9.1")
    ask(database, [only], "9.2")
    answer("9.1", uid1=0x0110)
    answer("6.6.6", ["1"])
    assert row(database, only).state == DeliveryState.SENT
    answer("9.2", ["1"])
    assert row(database, only).state == DeliveryState.COMMITTED


def test_silence_is_asked_again_then_sent_again_then_dead(database: Database) -> None:
    """An overdue request is repeated; every third time the object is sent again; in the end one sees why."""
    (only,) = plan(database, "1")
    states = []
    for number in range(POLICY.max_attempts):
        ask(database, [only], f"9.{number}")
        with database.write() as session:
            deliveries.commitment_failed(session, [only], error="no answer", policy=POLICY, now=NOW)
        states.append(row(database, only).state)
    assert states == ["sent", "sent", "pending", "dead"]
    assert row(database, only).last_error == "no answer"


def test_no_answer_in_time_makes_it_due_again(database: Database) -> None:
    """A request that was lost with its worker comes up again when its answer is overdue."""
    (only,) = plan(database, "1")
    with database.write() as session:
        deliveries.mark_sent(session, only, now=NOW, commitment=True)
    ask(database, [only], "9.1")
    assert claim(database, now=NOW + timedelta(minutes=59)) == []
    assert claim(database, now=NOW + timedelta(minutes=61)) == [only]
