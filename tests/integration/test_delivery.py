"""Results travel to real peers, whatever the peers do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from pydicom import dcmread

from ich_triage.dicom.scu import Peer
from ich_triage.domain.commitment import CommitmentResult
from ich_triage.domain.states import StudyState
from ich_triage.outputs import absence
from ich_triage.outputs.deliver import Deliverer
from ich_triage.outputs.outbox import Outbox
from ich_triage.settings import Delivery, Dicom, DicomDestination, Settings, Spool, Worker
from ich_triage.storage.folder import Folder
from ich_triage.store import deliveries
from ich_triage.store.database import Database
from ich_triage.store.tables import Delivery as Row
from tests.pacs import counting_pacs
from tests.peers import LOOPBACK, Archive, commitment_listener, dcmqrscp, orthanc, probe_port, storescp
from tests.reports import made_header, made_headers, made_masks, made_volume, report_of
from tests.rows import add_revision

Wait = Callable[..., None]
STUDY = "1.2.3"


def destination(peer: Peer, name: str = "pacs", **changes: Any) -> DicomDestination:
    """A destination that wants everything."""
    values = {"host": peer.host, "port": peer.port, "ae_title": peer.ae_title, "send": "all"} | changes
    return DicomDestination(name=name, **values)


def settings(spool: Path, *destinations: DicomDestination, **policy: Any) -> Settings:
    """Impatient settings: first retry after 50 ms, at most a fifth of a second between two."""
    patience = {"backoff_s": 0.05, "backoff_max_s": 0.2, "max_attempts": 1000, "timeout_s": 10.0}
    return Settings(
        dicom=Dicom(ae_title="ICH_TRIAGE"),
        spool=Spool(path=spool),
        worker=Worker(dead_after_s=1.0),
        delivery=Delivery(**(patience | policy)),
        destinations=destinations,
    )


def plan(database: Database, using: Settings, *, study: str = STUDY, flagged: bool = True) -> None:
    """Render a report of `study` and plan its deliveries, as the pipeline does."""
    state = StudyState.FLAGGED if flagged else StudyState.NOT_FLAGGED
    volume = made_volume(made_headers())
    header = made_header(StudyInstanceUID=study, PatientName="Doe^Jane", PatientID="1", StudyDate="20260304")
    planned = Outbox(Folder(using.spool.path), using.destinations).render(
        report_of(made_headers(), state, study_instance_uid=study),
        [header],
        volume=volume if flagged else None,
        masks=made_masks(volume) if flagged else None,
    )
    with database.write() as session:
        deliveries.plan(session, add_revision(session, study, state), planned)


def rows(database: Database, study: str = STUDY) -> Sequence[Row]:
    """The study's deliveries as they stand."""
    with database.read() as session:
        return deliveries.of_study(session, study)


def states(database: Database, study: str = STUDY) -> set[str]:
    """The states of the study's deliveries."""
    return {row.state for row in rows(database, study)}


@contextmanager
def delivering(using: Settings, database: Database) -> Iterator[Deliverer]:
    """A running deliverer."""
    deliverer = Deliverer(using, database)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


@pytest.mark.peer
def test_both_archives_get_what_is_on_disk(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Orthanc and dcmqrscp each store report and picture, element for element as in the outbox."""
    with orthanc(tmp_path / "orthanc") as first, dcmqrscp(tmp_path / "dcmqrscp") as (second, stored):
        using = settings(
            tmp_path / "spool", destination(first.peer, "orthanc"), destination(second, "dcmqrscp")
        )
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == {"sent"}, what="both archives")
        ours = {dcmread(path).SOPInstanceUID: dcmread(path) for path in using.spool.path.rglob("*.dcm")}
        assert sorted(first.sop_instance_uids()) == sorted(ours)
        theirs = [dcmread(path) for path in stored.glob("*.dcm")]
        assert len(theirs) == len(ours) == 2
        assert all(each == ours[each.SOPInstanceUID] for each in theirs)


@pytest.mark.peer
@pytest.mark.risk("R-019")
def test_a_destination_that_was_down_gets_it_once(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """While nothing listens the reason is visible and it is tried again; then it is delivered, once."""
    port = probe_port()
    peer = Peer(host=LOOPBACK, port=port, ae_title="ORTHANC")
    using = settings(tmp_path / "spool", destination(peer))
    plan(sqlite, using)
    with delivering(using, sqlite):
        wait_until(lambda: all(row.attempts >= 2 for row in rows(sqlite)), what="two attempts")
        assert "no connection" in (rows(sqlite)[0].last_error or "")
        with orthanc(tmp_path / "orthanc", port=port) as server:
            wait_until(lambda: states(sqlite) == {"sent"}, what="delivery")
            assert len(server.sop_instance_uids()) == 2


@pytest.mark.risk("R-019")
def test_a_report_does_not_wait_out_its_back_off_once_the_pacs_is_back(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """Seconds after the PACS is there again, however long the next attempt was put off."""
    with counting_pacs() as pacs:
        using = settings(tmp_path / "spool", destination(pacs.peer), backoff_s=300.0, backoff_max_s=600.0)
        with delivering(using, sqlite) as deliverer:
            with pacs.away():
                plan(sqlite, using)
                deliverer.wake()
                wait_until(lambda: all(row.attempts for row in rows(sqlite)), what="an attempt")
                put_off = min(row.next_attempt_at for row in rows(sqlite) if row.next_attempt_at)
            wait_until(lambda: states(sqlite) == {"sent"}, what="delivery")
            assert max(row.sent_at for row in rows(sqlite) if row.sent_at) < put_off
    assert [row.attempts for row in rows(sqlite)] == [2, 2]


@pytest.mark.peer
@pytest.mark.risk("R-019")
def test_a_destination_that_takes_connections_and_nothing_else_is_tried_less_and_less(
    sqlite: Database, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PACS that rejects every association uses up few of the attempts that are meant for a day."""
    monkeypatch.setattr(absence, "LOOK_S", 0.05)
    with storescp(tmp_path / "rejecting", "--refuse") as (peer, _):
        using = settings(tmp_path / "spool", destination(peer), backoff_s=300.0, backoff_max_s=600.0)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: all(row.attempts >= 3 for row in rows(sqlite)), what="some attempts")
            sleep(2.0)
    assert max(row.attempts for row in rows(sqlite)) <= 7


@pytest.mark.peer
def test_a_refusing_peer_leaves_a_dead_letter_that_can_be_redelivered(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """storescp that rejects associations ends in a visible dead letter; redeliver then succeeds."""
    with storescp(tmp_path / "refusing", "--refuse") as (peer, _):
        using = settings(tmp_path / "spool", destination(peer), max_attempts=2)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == {"dead"}, what="dead letters")
    assert all("association rejected" in (row.last_error or "") for row in rows(sqlite))
    with (
        storescp(tmp_path / "willing", port=peer.port) as (_, stored),
        delivering(using, sqlite) as deliverer,
    ):
        with sqlite.write() as session:
            assert deliveries.redeliver(session, STUDY, destination=None, now=datetime.now(UTC)) == 2
        deliverer.wake()
        wait_until(lambda: states(sqlite) == {"sent"}, what="redelivery")
        assert len(list(stored.iterdir())) == 2


@pytest.mark.parametrize(("status", "state"), [(0xA700, "dead"), (0xC000, "dead"), (0xB000, "sent")])
def test_the_status_decides(
    sqlite: Database, tmp_path: Path, wait_until: Wait, status: int, state: str
) -> None:
    """Failures are retried and end dead with the status in words; a warning counts as stored, with a note."""
    archive = Archive()
    archive.store_status = status
    using = settings(tmp_path, destination(archive.peer), max_attempts=2)
    plan(sqlite, using)
    with archive.serve(), delivering(using, sqlite):
        wait_until(lambda: states(sqlite) == {state}, what=state)
    assert all(f"0x{status:04X}" in (row.last_error or "") for row in rows(sqlite))


def test_a_silent_destination_delays_no_other(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """A peer that takes the connection and never says a word holds up only its own deliveries."""
    archive = Archive()
    with socket.create_server((LOOPBACK, 0)) as tarpit, archive.serve():
        silent = Peer(host=LOOPBACK, port=tarpit.getsockname()[1], ae_title="SILENT")
        both = destination(silent, "silent"), destination(archive.peer, "pacs")
        using = settings(tmp_path, *both, timeout_s=60.0)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: len(archive.stored) == 2, what="the other destination")
            stuck = [row for row in rows(sqlite) if row.destination == "silent"]
            assert [(row.state, row.attempts) for row in stuck] == [("pending", 0)] * 2
            tarpit.close()  # which resets the connection, so that nobody waits for the time-out


def test_a_broken_association_costs_only_itself(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """A peer that aborts in mid-batch gets the rest over new associations, the same bytes each time."""
    archive = Archive()
    archive.aborts = 2
    using = settings(tmp_path, destination(archive.peer))
    for number in range(4):
        plan(sqlite, using, study=f"1.2.3.{number}")
    with archive.serve(), delivering(using, sqlite):
        for number in range(4):
            wait_until(lambda number=number: states(sqlite, f"1.2.3.{number}") == {"sent"})
    assert len(archive.stored) == 10 and len(set(archive.stored)) == 8
    assert all(len(variants) == 1 for variants in archive.data.values())


@pytest.mark.risk("R-018")
def test_two_deliverers_send_each_object_once(database: Database, tmp_path: Path, wait_until: Wait) -> None:
    """On SQLite and PostgreSQL, two processes' worth of couriers share the work without repeating it."""
    archive = Archive()
    using = settings(tmp_path, destination(archive.peer))
    for number in range(20):
        plan(database, using, study=f"1.2.3.{number}", flagged=False)
    with archive.serve(), delivering(using, database), delivering(using, database):
        wait_until(lambda: len(archive.stored) >= 20, what="twenty reports")
        wait_until(lambda: all(states(database, f"1.2.3.{n}") == {"sent"} for n in range(20)))
    assert len(archive.stored) == len(set(archive.stored)) == 20


def test_what_a_dead_worker_had_claimed_is_taken_over(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """A claim whose owner was killed runs out, and another deliverer sends the object."""
    archive = Archive()
    using = settings(tmp_path, destination(archive.peer))
    plan(sqlite, using)
    with sqlite.write() as session:
        assert deliveries.claim_due(
            session, "pacs", worker_id="killed", now=datetime.now(UTC), limit=9, lease_s=1.0
        )
    with archive.serve(), delivering(using, sqlite):
        wait_until(lambda: states(sqlite) == {"sent"}, limit_s=5)


def test_an_object_that_is_gone_is_a_dead_letter(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """A file deleted from the outbox cannot be sent; the other one still is."""
    archive = Archive()
    using = settings(tmp_path, destination(archive.peer))
    plan(sqlite, using)
    (tmp_path / rows(sqlite)[0].path).unlink()
    with archive.serve(), delivering(using, sqlite):
        wait_until(lambda: states(sqlite) == {"dead", "sent"})
    assert "outbox" in (rows(sqlite)[0].last_error or "")


def test_a_destination_that_left_the_configuration_says_so(sqlite: Database, tmp_path: Path) -> None:
    """What waited for it is visible as dead, with the reason."""
    plan(sqlite, settings(tmp_path, destination(Archive().peer, "gone")))
    with delivering(settings(tmp_path), sqlite):
        assert states(sqlite) == {"dead"}
    assert "gone is not in the configuration" in (rows(sqlite)[0].last_error or "")


@pytest.mark.peer
def test_orthancs_commitment_arrives(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Orthanc is asked, opens an association of its own to our listener, and the deliveries are committed."""

    def record(result: CommitmentResult) -> None:
        with sqlite.write() as session:
            deliveries.commitment_result(session, result, policy=Delivery(), now=datetime.now(UTC))

    with (
        commitment_listener(record, ae_title="ICH_TRIAGE") as us,
        orthanc(tmp_path / "orthanc", modalities={"ich": us}) as server,
    ):
        using = settings(tmp_path / "spool", destination(server.peer, commitment=True))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == {"committed"}, what="commitment")
    assert all(row.committed_at and row.sent_at and row.committed_at >= row.sent_at for row in rows(sqlite))


def test_commitment_on_the_same_association(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """A PACS that reports on our own association is heard too; one request covers the batch."""
    archive = Archive()
    using = settings(tmp_path, destination(archive.peer, commitment=True), commitment_timeout_s=3.0)
    plan(sqlite, using)
    with archive.serve(commitment=True), delivering(using, sqlite):
        wait_until(lambda: states(sqlite) == {"committed"}, what="commitment")
    assert {len(request) for request in archive.requests} == {2}


@pytest.mark.risk("R-019")
def test_what_is_not_committed_is_sent_again(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """An archive that has lost an object gets it again, the same bytes, and then commits."""
    archive = Archive()
    using = settings(tmp_path, destination(archive.peer, commitment=True))
    plan(sqlite, using)
    lost = rows(sqlite)[0].sop_instance_uid
    archive.uncommitted = {lost}
    with archive.serve(commitment=True), delivering(using, sqlite):
        wait_until(lambda: archive.stored.count(lost) >= 2, what="the lost object again")
        archive.uncommitted = set()
        wait_until(lambda: states(sqlite) == {"committed"}, what="commitment")
    assert len(archive.data[lost]) == 1


def test_an_archive_that_never_commits_is_seen(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Requests that are refused again and again end in a dead letter that gives the status."""
    archive = Archive()
    archive.commitment_status = 0x0110
    using = settings(tmp_path, destination(archive.peer, commitment=True), max_attempts=4)
    plan(sqlite, using, flagged=False)
    with archive.serve(commitment=True), delivering(using, sqlite):
        wait_until(lambda: states(sqlite) == {"dead"}, what="the dead letter")
    assert "commitment request: status 0x0110" in (rows(sqlite)[0].last_error or "")
    assert len(archive.requests) == 4 and len(archive.stored) == 2


def test_silence_after_a_request_is_asked_again(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """A report that never comes is overdue after the configured time, and asked for again."""
    archive = Archive()
    using = settings(tmp_path, destination(archive.peer, commitment=True), commitment_timeout_s=0.2)
    plan(sqlite, using, flagged=False)
    archive.answers = False
    with archive.serve(commitment=True), delivering(using, sqlite):
        wait_until(lambda: len(archive.requests) >= 2, what="the second request")
        archive.answers = True
        wait_until(lambda: states(sqlite) == {"committed"}, what="commitment")


def test_an_archive_that_goes_away_before_it_commits_is_seen(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """Stored, refused commitment once, then gone: the attempts grow to a dead letter, not on for ever."""
    archive = Archive()
    archive.commitment_status = 0x0110
    using = settings(tmp_path, destination(archive.peer, commitment=True), max_attempts=3)
    plan(sqlite, using, flagged=False)
    with delivering(using, sqlite):
        with archive.serve(commitment=True):
            wait_until(lambda: len(archive.requests) >= 1, what="the first request")
        wait_until(lambda: states(sqlite) == {"dead"}, what="the dead letter")
    assert rows(sqlite)[0].commitment_attempts >= 2


def test_commitment_that_is_no_longer_asked_for_ends_the_wait(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """The archive never answers and the operator turns commitment off: what is stored counts as sent."""
    archive = Archive()
    archive.answers = False
    asking = settings(tmp_path, destination(archive.peer, commitment=True), commitment_timeout_s=0.2)
    plan(sqlite, asking, flagged=False)
    with archive.serve(commitment=True), delivering(asking, sqlite):
        wait_until(lambda: len(archive.requests) >= 1, what="the request")
    not_asking = settings(tmp_path, destination(archive.peer, commitment=False))
    with archive.serve(), delivering(not_asking, sqlite):
        wait_until(lambda: rows(sqlite)[0].next_attempt_at is None, what="the end of the wait")
    assert states(sqlite) == {"sent"}
    assert "no storage commitment" in (rows(sqlite)[0].last_error or "")


@pytest.mark.peer
def test_a_destination_without_the_service_counts_as_sent(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """storescp knows no storage commitment: sent, with a note instead of retries for ever."""
    with storescp(tmp_path / "storescp") as (peer, _):
        using = settings(tmp_path / "spool", destination(peer, commitment=True))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: all(row.next_attempt_at is None for row in rows(sqlite)))
    assert states(sqlite) == {"sent"}
    assert all("no storage commitment" in (row.last_error or "") for row in rows(sqlite))
