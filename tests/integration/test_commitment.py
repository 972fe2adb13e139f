"""Scanners ask us for storage commitment: what they hear is true, and they hear it whatever dies."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, HangingProtocolStorage, MRImageStorage, generate_uid
from sqlalchemy import func, select, text, update
from structlog.testing import capture_logs

from ich_triage.cli.doctor_listeners import look_at_commitment
from ich_triage.dicom.return_address import return_address
from ich_triage.dicom.scu import Peer
from ich_triage.domain.commitment import CommitmentRequest, CommitmentResult, Reason
from ich_triage.intake import indexer, judge
from ich_triage.outputs.commitments import CommitmentReporter
from ich_triage.settings import Settings, load
from ich_triage.store import commitments, removal, studies
from ich_triage.store.commitment_tables import Commitment
from ich_triage.store.commitments import Asker
from ich_triage.store.database import Database
from tests.committing import ask, committing, references
from tests.forks import Fork, Forks
from tests.peers import commitment_listener, probe_port
from tests.receiving import AE_TITLE, count_indexed, receiving, send, settings
from tests.scanner import head
from tests.service import destination, write_config

Wait = Callable[..., None]
NOW = datetime.now(UTC)
MISSING = "1.2.3.4.5.6.7"


def waiting(database: Database) -> int:
    """Requests whose peers have not heard yet."""
    with database.read() as session:
        return session.scalar(select(func.count(Commitment.id))) or 0


def left_behind(database: Database, objects: list[Dataset], *, asked_at: datetime = NOW) -> str:
    """What a receiver leaves that was killed right after its answer: a request that nobody has judged."""
    request = CommitmentRequest(transaction_uid=generate_uid(), objects=references(objects))
    asker = Asker(ae_title="SCANNER", address="127.0.0.1")
    with database.write() as session:
        commitments.add(session, asker, request, now=asked_at, not_before=asked_at)
    return request.transaction_uid


def told_at(peer: Peer, **more: Any) -> dict[str, Any]:
    """The scanner as one of `[[peers]]` that is told where it listens."""
    listed = {"name": "ct", "ae_title": "SCANNER", "rights": ["store", "commit"], "port": peer.port}
    return {"peers": [listed], "delivery": {"backoff_s": 0.1, "backoff_max_s": 0.2, "timeout_s": 5.0}} | more


@contextmanager
def reporting(settings: Settings, database: Database) -> Iterator[None]:
    """The part of a worker that tells."""
    reporter = CommitmentReporter(settings, database)
    reporter.start()
    try:
        yield
    finally:
        reporter.stop()


def test_a_scanner_that_waits_hears_the_truth_at_once(
    database: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """Held; never came; of another class; of a class never held; gone from the disk: each its reason."""
    objects = head(4)
    with receiving(database, tmp_path) as receiver, committing(receiver.port) as (association, results):
        assert [association.send_c_store(each).Status for each in objects] == [0] * 4
        assert ask(association, "1.2.9", references(objects)) == 0x0000
        event_type, result = results.get(timeout=10)
        assert (event_type, result.transaction_uid) == (1, "1.2.9")
        assert result.committed == {str(each.SOPInstanceUID) for each in objects} and not result.failed

        wait_until(lambda: count_indexed(database) == 4, what="the index")
        held, wrong, gone, _ = references(objects)
        next((tmp_path / "spool" / "studies").glob(f"*/{gone[1]}.dcm")).unlink()
        asked = [held, (MRImageStorage, wrong[1]), gone]
        asked += [(CTImageStorage, MISSING), (HangingProtocolStorage, "1.2.3.4.5.6.8")]
        assert ask(association, "1.2.10", asked) == 0x0000
        event_type, result = results.get(timeout=10)
        assert (event_type, result.committed) == (2, {held[1]})
        assert result.failed == {
            wrong[1]: Reason.CLASS_CONFLICT,
            gone[1]: Reason.NO_SUCH_INSTANCE,
            MISSING: Reason.NO_SUCH_INSTANCE,
            "1.2.3.4.5.6.8": Reason.CLASS_NOT_SUPPORTED,
        }
        # the association goes on, whichever of the two speaks
        assert association.send_c_store(head(1)[0]).Status == 0x0000
        wait_until(lambda: waiting(database) == 0, what="the answers")


def test_what_still_lies_in_the_inbox_is_committed_to(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged is durable, whether or not the index has come to it; of another class it is a conflict."""

    def stuck(_arrival: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(indexer, "read", stuck)
    first, second = head(2)
    with receiving(sqlite, tmp_path) as receiver, committing(receiver.port) as (association, results):
        assert [association.send_c_store(each).Status for each in (first, second)] == [0, 0]
        asked = [*references([first]), (MRImageStorage, second.SOPInstanceUID), (CTImageStorage, MISSING)]
        assert ask(association, "1.2.9", asked) == 0x0000
        _, result = results.get(timeout=10)
    assert count_indexed(sqlite) == 0
    assert result.committed == {first.SOPInstanceUID}
    assert result.failed == {second.SOPInstanceUID: 0x0119, MISSING: 0x0112}


def test_what_is_between_folder_and_index_is_committed_to(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its place, the row is not written yet: it is held."""
    monkeypatch.setattr(indexer.Indexer, "_write", lambda _self, _items: None)
    (only,) = head(1)
    with receiving(sqlite, tmp_path) as receiver, committing(receiver.port) as (association, results):
        assert association.send_c_store(only).Status == 0
        assert ask(association, "1.2.9", references([only])) == 0x0000
        _, result = results.get(timeout=10)
    assert result.committed == {only.SOPInstanceUID}


def test_removed_images_are_not_committed_to(
    database: Database, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once retention has taken them, a new request is told so; so is an old one that was not told in time."""
    monkeypatch.setattr(commitments, "FRESH", timedelta(0))
    objects = head(2)
    with receiving(database, tmp_path) as receiver:
        send(receiver.port, objects)
        wait_until(lambda: count_indexed(database) == 2, what="the index")
        with database.write() as session:
            study = studies.get(session, objects[0].StudyInstanceUID)
            assert study is not None
            removal.drop_images(session, study)
        for path in (tmp_path / "spool" / "studies").glob("*/*.dcm"):
            path.unlink()
        with committing(receiver.port) as (association, results):
            assert ask(association, "1.2.9", references(objects)) == 0x0000
            _, result = results.get(timeout=10)
    assert set(result.failed.values()) == {Reason.NO_SUCH_INSTANCE} and not result.committed


def test_a_scanner_that_leaves_at_once_is_told_where_it_listens(
    database: Database, tmp_path: Path, wait_until: Wait, dead_port: int
) -> None:
    """Over an association of ours, in the role of the SCP; it is away at first, and hears it later."""
    objects, results = head(3), SimpleQueue[CommitmentResult]()
    sections = told_at(Peer(host="127.0.0.1", port=dead_port, ae_title="SCANNER"))
    with receiving(database, tmp_path, **sections) as receiver:
        with reporting(settings(tmp_path, **sections), database):
            with committing(receiver.port) as (association, _):
                assert [association.send_c_store(each).Status for each in objects] == [0] * 3
                assert ask(association, "1.2.9", references(objects)) == 0x0000
            wait_until(lambda: bool(_errors(database)), what="an attempt in vain")
            assert "no connection" in _errors(database)[0]
        with (
            commitment_listener(results.put, ae_title="SCANNER") as peer,
            reporting(settings(tmp_path, **told_at(peer)), database),
        ):
            result = results.get(timeout=20)
            wait_until(lambda: waiting(database) == 0, what="the row to go")
    assert result.committed == {str(each.SOPInstanceUID) for each in objects}
    assert results.empty()


def _errors(database: Database) -> list[str]:
    with database.read() as session:
        return [why for _, why in commitments.waiting(session).values() if why]


def test_what_a_receiver_has_left_behind_is_judged_and_told(
    database: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """A request without a verdict is taken up by whichever receiver lives; a verdict that grew old, too."""
    objects, results = head(2), SimpleQueue[CommitmentResult]()
    with commitment_listener(results.put, ae_title="SCANNER") as peer:
        sections = told_at(peer)
        with receiving(database, tmp_path, **sections) as receiver:
            send(receiver.port, objects)
            left_behind(database, objects)
            wait_until(lambda: bool(_judged(database)), what="a verdict")
            long_ago = NOW - timedelta(hours=1)
            with database.write() as session:
                session.execute(update(Commitment).values(judged_at=long_ago, next_attempt_at=long_ago))
            wait_until(lambda: _judged(database)[0] > NOW, what="another verdict")
            with reporting(settings(tmp_path, **sections), database):
                assert results.get(timeout=20).committed == {str(each.SOPInstanceUID) for each in objects}


def _judged(database: Database) -> list[datetime]:
    with database.read() as session:
        return [each for each in session.scalars(select(Commitment.judged_at)) if each]


def test_a_kill_between_answer_and_result_loses_nothing(
    sqlite: Database, tmp_path: Path, forks: Forks, wait_until: Wait
) -> None:
    """kill -9 as soon as the scanner has its answer: the next receiver judges, and the scanner hears."""
    objects, results = head(2), SimpleQueue[CommitmentResult]()
    port = probe_port()
    with commitment_listener(results.put, ae_title="SCANNER") as peer:
        archive = destination("archive", peer)  # an AE title among the destinations has an address, too
        dicom = {"ae_title": AE_TITLE}
        config = write_config(tmp_path, port=port, dicom=dicom, destinations=[archive])

        def start(number: int) -> Fork:
            log = tmp_path / f"{number}.log"
            log.touch()
            fork = forks.start("receiver", log, config=str(config), commitments_held_s=0.5)
            wait_until(lambda: "receiver_started" in log.read_text(), what="the receiver")
            return fork

        first = start(1)
        with committing(port) as (association, on_the_way):
            assert [association.send_c_store(each).Status for each in objects] == [0] * 2
            assert ask(association, "1.2.9", references(objects)) == 0x0000
            first.kill()
            assert on_the_way.empty()
        assert waiting(sqlite) == 1
        start(2)
        with reporting(load(config), sqlite):
            result = results.get(timeout=20)
            wait_until(lambda: waiting(sqlite) == 0, what="the row to go")
    assert result.committed == {str(each.SOPInstanceUID) for each in objects}


def test_who_cannot_be_told_is_not_waited_for(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Without an address, a request ends with its association; with one, after the limit. Both are logged."""
    with capture_logs() as logs, receiving(sqlite, tmp_path) as receiver:
        with committing(receiver.port) as (association, _):
            assert ask(association, "1.2.9", [(CTImageStorage, MISSING)]) == 0x0000
        wait_until(lambda: waiting(sqlite) == 0, what="the row to go")
    assert "commitment_nowhere_to_tell" in [line["event"] for line in logs]
    old = left_behind(sqlite, head(1), asked_at=NOW - timedelta(hours=25))
    nobody = Peer(host="127.0.0.1", port=1, ae_title="SCANNER")
    with capture_logs() as logs, receiving(sqlite, tmp_path, **told_at(nobody)):
        wait_until(lambda: waiting(sqlite) == 0, what="the row to go")
    [told] = [line for line in logs if line["event"] == "commitment_given_up"]
    assert (told["transaction_uid"], told["ae_title"], told["log_level"]) == (old, "SCANNER", "error")


def test_requests_that_make_no_sense_are_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with the status of its mistake; what is asked twice is one request; a flood has an end."""
    monkeypatch.setattr(commitments, "_MOST_OF_AE", 2)
    monkeypatch.setattr(judge, "GRACE_S", 60.0)  # nothing is answered meanwhile
    one = [(CTImageStorage, MISSING)]
    with receiving(database, tmp_path) as receiver, committing(receiver.port) as (association, _):
        assert ask(association, "1.2.9", one, action=2) == 0x0123
        assert ask(association, "1.2.9", one, instance="1.2.3") == 0x0112
        assert ask(association, "1.2.9", []) == 0x0115
        assert ask(association, "", one) == 0x0115
        assert ask(association, "1.2.9", one) == ask(association, "1.2.9", one) == 0x0000
        assert ask(association, "1.2.9", [(CTImageStorage, "1.2.3.9")]) == 0x0131
        assert ask(association, "1.2.10", one) == 0x0000
        assert ask(association, "1.2.11", one) == 0x0213
        assert waiting(database) == 2
        with committing(receiver.port, calling="OTHER") as (other, _):
            assert ask(other, "1.2.9", one) == 0x0000
        assert association.send_c_store(head(1)[0]).Status == 0x0000


def test_a_database_that_hangs_keeps_no_scanner_waiting(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is refused after a while, the scanner keeps its images; objects are taken meanwhile."""
    monkeypatch.setattr("ich_triage.intake.commitment.KEEP_S", 0.2)
    with (
        receiving(sqlite, tmp_path) as receiver,
        committing(receiver.port) as (association, _),
        sqlite.write() as session,
    ):
        session.execute(text("SELECT 1"))  # holds the write lock from now on
        assert ask(association, "1.2.9", [(CTImageStorage, MISSING)]) == 0x0110
        assert association.send_c_store(head(1)[0]).Status == 0x0000


def test_doctor_says_what_our_word_is_worth_and_who_cannot_be_told(sqlite: Database, tmp_path: Path) -> None:
    """Retention that takes images is pointed out where scanners may rely on us; an address is tried."""
    nobody = told_at(Peer(host="127.0.0.1", port=1, ae_title="SCANNER"))
    nobody["peers"][0]["host"] = "127.0.0.1"
    found = list(look_at_commitment(settings(tmp_path, **nobody)))
    assert [(each.subject, each.level) for each in found] == [
        ("peer ct", "error"),
        ("storage commitment", "warning"),
    ]
    assert "ct may ask" in found[1].seen and "free_bytes" in found[1].seen
    assert list(look_at_commitment(settings(tmp_path, retention={"free_bytes": 0}))) == []


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"host": "10.0.0.7"}, "need port"),
        ({"port": 104, "rights": ["store"]}, 'need the right "commit"'),
        ({"tls": True}, "need port"),
    ],
)
def test_a_peer_that_cannot_be_told_is_refused_at_the_start(more: dict[str, Any], why: str) -> None:
    """An address without a port, or one for a peer that may not ask, is a mistake in the configuration."""
    peer = {"name": "ct", "ae_title": "CT", "rights": ["commit"]} | more
    with pytest.raises(ValidationError, match=why):
        Settings(peers=[peer])  # type: ignore[list-item]


def test_of_tables_with_one_ae_title_the_one_of_that_address_is_told(tmp_path: Path) -> None:
    """Else any of them; else a destination with that AE title; else nobody."""
    rooms = [
        {
            "name": f"ct{each}",
            "ae_title": "CT",
            "rights": ["commit"],
            "port": each,
            "addresses": [f"10.0.0.{each}"],
        }
        for each in (1, 2)
    ]
    archive = {"name": "pacs", "host": "pacs", "port": 104, "ae_title": "PACS"}
    loaded = settings(tmp_path, peers=rooms, destinations=[archive])
    assert [return_address(loaded, "CT", f"10.0.0.{each}").port for each in (1, 2, 3)] == [1, 2, 1]
    assert return_address(loaded, "CT", "10.0.0.9").host == "10.0.0.9"
    assert return_address(loaded, "PACS", "10.0.0.9") == Peer(host="pacs", port=104, ae_title="PACS")
    assert return_address(loaded, "STRANGER", "10.0.0.9") is None
