"""Procedure steps and their events in the store, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.domain.step import StepState
from ich_triage.settings import Delivery
from ich_triage.store import results, revisions, studies, ups, ups_events
from ich_triage.store.database import Database
from ich_triage.store.ups_tables import ProcedureStep, StepEvent
from tests.asking import add_study

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)
LEASE = timedelta(seconds=30)
POLICY = Delivery(backoff_s=1.0, backoff_max_s=4.0, max_attempts=3)


def _uid(study_instance_uid: str, number: int) -> str:
    return f"{study_instance_uid}.{number}"


@pytest.fixture
def covered(database: Database) -> Database:
    """Two studies with their steps, 1.1.1 and 1.2.1."""
    for uid in ("1.1", "1.2"):
        add_study(database, uid, StudyState.IN_PROGRESS)
    with database.write() as session:
        ups.make(session, ups.uncovered(session), NOW, _uid)
    return database


def _step(database: Database, uid: str = "1.1.1") -> ProcedureStep:
    with database.read() as session:
        step = ups.find(session, uid)
        assert step is not None
        return step


def _publish(database: Database, *kinds: int) -> None:
    with database.write() as session:
        step = ups.find(session, "1.1.1")
        assert step is not None
        for kind in kinds:
            ups_events.publish(session, step, kind, {}, now=NOW, to=("A",))


def _claimed(database: Database, owner: str, now: datetime, limit: int = 10) -> list[StepEvent]:
    with database.write() as session:
        return list(ups_events.claim_due(session, "A", owner=owner, now=now, limit=limit, lease=LEASE))


def test_steps_are_made_once(covered: Database) -> None:
    """Two processes that have seen the same gap: each step is new to one."""
    add_study(covered, "1.3", StudyState.RECEIVING)
    with covered.read() as session:
        wanted = ups.uncovered(session)
    made = []
    for _ in range(2):
        with covered.write() as session:
            made.append([step.sop_instance_uid for step in ups.make(session, wanted, NOW, _uid)])
    assert made == [["1.3.1"], []]
    with covered.read() as session:
        assert ups.uncovered(session) == []


def test_one_of_many_claims_wins(covered: Database) -> None:
    """Let loose together, each in a transaction of its own."""
    count = 6
    together = Barrier(count)

    def claim(number: int) -> bool:
        together.wait(30)
        with covered.write() as session:
            return ups.claim(session, "1.1.1", transaction_uid=f"1.{number}", performer="R", now=NOW)

    with ThreadPoolExecutor(count) as pool:
        won = list(pool.map(claim, range(count)))
    assert sum(won) == 1
    step = _step(covered)
    assert (step.state, step.transaction_uid) == (StepState.IN_PROGRESS, f"1.{won.index(True)}")
    assert _step(covered, "1.2.1").state == StepState.SCHEDULED


def test_only_its_own_transaction_ends_a_step(covered: Database) -> None:
    """A reader whose claim was lost to another cannot end that one's reading."""
    with covered.write() as session:
        ups.claim(session, "1.1.1", transaction_uid="1.5", performer="R", now=NOW)
    stale = _step(covered)
    stale.transaction_uid = "1.6"
    for step, ended in ((stale, False), (_step(covered), True)):
        with covered.write() as session:
            step.study = session.get_one(ProcedureStep, step.id).study
            assert ups.end(session, step, StepState.COMPLETED, performed={}, now=LATER) is ended
    assert _step(covered).ended_at == LATER


def test_a_flag_after_a_reading_during_the_analysis_is_to_be_read_again(covered: Database) -> None:
    """The reader has ended the step before the first answer came: a flag gets a second step."""
    with covered.write() as session:
        study = studies.get(session, "1.1")
        opened = revisions.open_revision(session, study, CompletedBy.QUIET, NOW)
        session.flush()
        revision_id = opened.id
        ups.claim(session, "1.1.1", transaction_uid="1.5", performer="R", now=NOW)
        step = ups.find(session, "1.1.1")
        assert step is not None
        ups.end(session, step, StepState.COMPLETED, performed={}, now=LATER)
    assert _step(covered).ended_revision == 0
    with covered.write() as session:
        results.finish(session, results.get(session, revision_id), StudyState.FLAGGED)
    with covered.read() as session:
        assert [(each.study_instance_uid, number) for each, number in ups.uncovered(session)] == [("1.1", 2)]


def test_events_keep_their_order_and_wait_together(covered: Database) -> None:
    """A failure lets all wait, also those that were not tried; none overtakes the oldest."""
    _publish(covered, 1, 2)
    (first,) = _claimed(covered, "p", NOW, limit=1)
    assert _claimed(covered, "q", NOW) == []
    with covered.write() as session:
        assert ups_events.failed(session, [first.id], error="away", policy=POLICY, now=NOW) == []
    _publish(covered, 3)
    assert _claimed(covered, "q", NOW) == []
    with covered.read() as session:
        assert not ups_events.is_due(session, "A", NOW)
        assert ups_events.waiting(session) == {"A": (3, "away")}
    assert [event.event_type for event in _claimed(covered, "q", LATER)] == [1, 2, 3]


def test_claims_run_out_and_are_renewed(covered: Database) -> None:
    """A process that dies holds an event for its lease; one that goes on keeps the rest."""
    _publish(covered, 1, 2)
    first, _ = _claimed(covered, "p", NOW)
    with covered.write() as session:
        ups_events.arrived(session, first, until=NOW + 3 * LEASE)
    assert _claimed(covered, "q", NOW + 2 * LEASE) == []
    assert [event.event_type for event in _claimed(covered, "q", NOW + 4 * LEASE)] == [2]
    with covered.write() as session:
        ups_events.release(session, "q")
    assert len(_claimed(covered, "p", NOW + 4 * LEASE)) == 1


def test_an_event_is_given_up_in_the_end(covered: Database) -> None:
    """After the attempts of the policy, each after a longer wait."""
    _publish(covered, 1)
    waits, now = [], NOW
    for _ in range(3):
        (event,) = _claimed(covered, "p", now)
        with covered.write() as session:
            given_up = ups_events.failed(session, [event.id], error="away", policy=POLICY, now=now)
            left = session.get(StepEvent, event.id)
            waits.append((left.next_attempt_at - now).total_seconds() if left and not given_up else None)
        now += timedelta(seconds=10)
    assert waits == [1.0, 2.0, None]
    with covered.read() as session:
        assert ups_events.waiting(session) == {}


def test_what_watchers_were_told_is_compared(covered: Database) -> None:
    """A study that changes is found once; nobody to tell means nothing is left to tell."""
    with covered.write() as session:
        studies.set_state(studies.get(session, "1.1"), StudyState.FLAGGED)
    with covered.write() as session:
        (step,) = ups.changed(session)
        assert ups.mark_reported(session, step, NOW)
        assert not ups.mark_reported(session, step, NOW)
    with covered.write() as session:
        assert ups.changed(session) == []
        studies.set_state(studies.get(session, "1.2"), StudyState.FAILED)
    with covered.write() as session:
        ups.settle(session)
        assert ups.changed(session) == []
