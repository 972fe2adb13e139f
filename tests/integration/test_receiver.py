"""Scanners send, the receiver stores and indexes: what it must take, and what it must refuse."""

from __future__ import annotations

import errno
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    ExplicitVRLittleEndian,
    HangingProtocolStorage,
    generate_uid,
)
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy import select, update
from structlog.testing import capture_logs

from ich_triage.dicom.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES
from ich_triage.domain.priority import Rank
from ich_triage.domain.states import StudyState
from ich_triage.intake import indexer
from ich_triage.intake import receiver as receivers
from ich_triage.intake.spool import Arrival, digest
from ich_triage.store import migrate, problems
from ich_triage.store import receivers as heartbeats
from ich_triage.store.database import Database
from ich_triage.store.instances import Received
from ich_triage.store.tables import Instance, Receiver, Study
from tests.peers import program
from tests.receiving import (
    AE_TITLE,
    associated,
    count_indexed,
    left_behind,
    receiving,
    send,
    settings,
    stored,
)
from tests.scanner import ct_slice, dose_report, head, raw_file, save

ECHO = [(Verification, ExplicitVRLittleEndian)]

Wait = Callable[..., None]


def test_a_receiver_counts_as_alive_while_it_runs(
    database: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """And no longer once it has stopped in order, or has been silent."""

    def living() -> int:
        with database.read() as session:
            return heartbeats.living(session)

    with receiving(database, tmp_path):
        wait_until(lambda: living() == 1, what="the first heartbeat")
    assert living() == 0
    with database.write() as session:
        heartbeats.heartbeat(session, receiver_id="dead", host="here", pid=1)
    assert living() == 1
    with database.write() as session:
        session.execute(update(Receiver).values(seen_at=datetime.now(UTC) - timedelta(minutes=1)))
    assert living() == 0


@pytest.mark.peer
def test_a_real_slice_from_storescu_is_stored_and_indexed(
    database: Database, tmp_path: Path, real_head: Path, wait_until: Wait
) -> None:
    """DCMTK's storescu gets its acknowledgement, the file its place, the study its row."""
    source = real_head / "01.dcm"
    with receiving(database, tmp_path) as receiver:
        command = [program("storescu"), "-aec", AE_TITLE, "127.0.0.1", str(receiver.port), str(source)]
        subprocess.run(command, check=True, timeout=30)
        wait_until(lambda: count_indexed(database) == 1, what="the index")
    (file,) = stored(tmp_path).values()
    assert dcmread(file) == dcmread(source)
    with database.read() as session:
        study, instance = session.scalars(select(Study)).one(), session.scalars(select(Instance)).one()
    assert (study.state, study.rank, study.instance_count) == (StudyState.RECEIVING, Rank.UNKNOWN, 1)
    assert study.calling_ae_title == "STORESCU"
    assert study.assembling_since == instance.received_at
    assert tmp_path / "spool" / instance.path == file
    assert instance.sha256 == digest(file)
    assert left_behind(tmp_path) == []


@pytest.mark.peer
@pytest.mark.parametrize(
    ("encoder", "sender"),
    [
        ("dcmconv +ti", "storescu -xi"),
        ("dcmconv +te", "storescu -xe"),
        ("dcmconv +tb", "storescu -xb"),
        ("dcmconv +td", "dcmsend -dn"),
        ("dcmcrle", "dcmsend -dn"),
        ("dcmcjpeg +e1", "dcmsend -dn"),
        ("dcmcjpeg +el", "dcmsend -dn"),
        ("dcmcjpls +el", "dcmsend -dn"),
    ],
)
def test_dcmtk_delivers_every_encoding_unchanged(
    sqlite: Database, tmp_path: Path, encoder: str, sender: str, wait_until: Wait
) -> None:
    """What DCMTK encodes and sends lies in the spool with the very same data set."""
    (plain,) = save([ct_slice(1, study="1.2.3", series="1.2.3.4")], tmp_path / "scanner")
    encoded = tmp_path / "encoded.dcm"
    name, *options = encoder.split()
    subprocess.run([program(name), *options, str(plain), str(encoded)], check=True)
    name, *options = sender.split()
    with receiving(sqlite, tmp_path) as receiver:
        peer = ["-aec", AE_TITLE, "127.0.0.1", str(receiver.port)]
        subprocess.run([program(name), *options, *peer, str(encoded)], check=True, timeout=30)
        wait_until(lambda: count_indexed(sqlite) == 1, what="the index")
    (file,) = stored(tmp_path).values()
    assert dcmread(file).file_meta.TransferSyntaxUID == dcmread(encoded).file_meta.TransferSyntaxUID
    assert dcmread(file) == dcmread(encoded)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda uid: uid.keyword)
def test_every_transfer_syntax_is_accepted_for_ct(sqlite: Database, tmp_path: Path, syntax: str) -> None:
    """Each encoding that we can decode later is taken when it is all that a peer offers."""
    with (
        receiving(sqlite, tmp_path) as receiver,
        associated(receiver.port, [(CTImageStorage, syntax)]) as association,
    ):
        assert [context.transfer_syntax for context in association.accepted_contexts] == [[syntax]]


def test_every_storage_class_is_accepted_and_no_other(sqlite: Database, tmp_path: Path) -> None:
    """The whole table is taken; another class or syntax costs its own context only (PS3.8 Table 9-18)."""
    wanted = [(sop_class, ExplicitVRLittleEndian) for sop_class in (Verification, *STORAGE_CLASSES)]
    foreign = [(HangingProtocolStorage, ExplicitVRLittleEndian), (CTImageStorage, MPEG2MPML)]
    with (
        receiving(sqlite, tmp_path) as receiver,
        associated(receiver.port, wanted + foreign) as association,
    ):
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        refused = [context.result for context in association.rejected_contexts]
        assert association.send_c_echo().Status == 0x0000
    assert accepted == {sop_class for sop_class, _ in wanted}
    assert refused == [0x03, 0x04]


def test_an_uncompressed_syntax_is_chosen_where_there_is_a_choice(sqlite: Database, tmp_path: Path) -> None:
    """Of what a peer offers together, we take what costs least to read."""
    offered = [str(syntax) for syntax in reversed(TRANSFER_SYNTAXES)]
    with (
        receiving(sqlite, tmp_path) as receiver,
        associated(receiver.port, [(CTImageStorage, offered)]) as association,
    ):
        assert association.accepted_contexts[0].transfer_syntax == [ExplicitVRLittleEndian]


def test_an_unknown_called_ae_title_is_rejected_for_that_reason(sqlite: Database, tmp_path: Path) -> None:
    """Rejected permanently, by the service user, called AE title not recognized; and logged."""
    with (
        capture_logs() as logs,
        receiving(sqlite, tmp_path) as receiver,
        associated(receiver.port, [(Verification, ExplicitVRLittleEndian)], called="SOMEBODY") as association,
    ):
        answer = association.acceptor.primitive
    assert association.is_rejected and answer
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)
    assert "called_ae_title_not_recognized" in [entry.get("reason") for entry in logs]


def test_one_association_too_many_is_told_to_come_back(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """Rejected transiently, local limit exceeded; the others go on, and a place freed is a place."""
    with (
        capture_logs() as logs,
        receiving(sqlite, tmp_path, dicom={"max_associations": 2}) as receiver,
        associated(receiver.port, ECHO) as first,
    ):
        with associated(receiver.port, ECHO) as second, associated(receiver.port, ECHO) as third:
            answer = third.acceptor.primitive
            assert third.is_rejected and answer
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
            assert first.send_c_echo().Status == second.send_c_echo().Status == 0x0000

        def answered() -> bool:
            with associated(receiver.port, ECHO) as fourth:
                return fourth.is_established and fourth.send_c_echo().Status == 0x0000

        wait_until(answered, what="the freed place")
    assert "local_limit_exceeded" in [entry.get("reason") for entry in logs]


def test_a_disk_below_its_reserve_is_out_of_resources(sqlite: Database, tmp_path: Path) -> None:
    """A700 with a comment, nothing on disk, and the association goes on."""
    with (
        capture_logs() as logs,
        receiving(sqlite, tmp_path, spool={"reserve_bytes": 1 << 60}) as receiver,
        associated(receiver.port, [*ECHO, (CTImageStorage, ExplicitVRLittleEndian)]) as association,
    ):
        answer = association.send_c_store(head(1)[0])
        assert association.send_c_echo().Status == 0x0000
    assert answer.Status == 0xA700
    assert "reserve" in answer.ErrorComment
    assert "object_refused" in [entry["event"] for entry in logs]
    assert left_behind(tmp_path) == []


@pytest.mark.risk("R-121")
def test_a_full_disk_is_out_of_resources_and_leaves_nothing(sqlite: Database, tmp_path: Path) -> None:
    """A disk that fills in mid-object: A700, the half file gone, the next small object stored."""
    mount = tmp_path / "spool"
    mount.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        large, small = (
            ct_slice(1, study="1.2.3", series="1.2.3.4", pixels=1024),
            ct_slice(2, study="1.2.3", series="1.2.3.4"),
        )
        with receiving(sqlite, tmp_path) as receiver:
            assert send(receiver.port, [large, small]) == [0xA700, 0x0000]
        assert left_behind(tmp_path) == []
        assert list(stored(tmp_path)) == [small.SOPInstanceUID]
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_duplicate_changes_nothing(database: Database, tmp_path: Path, wait_until: Wait) -> None:
    """The same study sent twice is one study, one file and one row an object."""
    objects = head(3)
    with receiving(database, tmp_path) as receiver:
        assert set(send(receiver.port, objects + objects)) == {0x0000}
        wait_until(lambda: count_indexed(database) == 3 and not left_behind(tmp_path), what="the index")
        assert set(send(receiver.port, objects, calling="ROUTER")) == {0x0000}
        wait_until(lambda: not left_behind(tmp_path), what="an empty inbox")
    assert count_indexed(database) == len(stored(tmp_path)) == 3
    with database.read() as session:
        assert session.scalars(select(Study.instance_count)).one() == 3
        assert problems.recent(session) == []


def test_an_object_that_breaks_the_index_costs_no_other_and_is_tried_again(
    sqlite: Database, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One object raises what nobody expects, once: the others are indexed, and the next rescan finds it."""
    slices = head(6)
    broken = str(slices[2].SOPInstanceUID)
    read, failed = indexer.read, []

    def breaks(arrival: Arrival) -> Received:
        found = read(arrival)
        if found.sop_instance_uid == broken and not failed:
            failed.append(arrival.path)
            raise ZeroDivisionError
        return found

    monkeypatch.setattr(indexer, "read", breaks)
    monkeypatch.setattr(receivers, "_RESCAN_S", 1.0)
    with receiving(sqlite, tmp_path) as receiver:
        send(receiver.port, slices)
        wait_until(lambda: count_indexed(sqlite) == 6, what="the rescan")
    assert failed
    with sqlite.read() as session:
        (problem,) = problems.recent(session)
    assert "ZeroDivisionError" in problem.detail


def test_too_many_open_files_only_delay_the_index(
    sqlite: Database, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passes is waited for: nothing is reported as unusable, and everything is indexed."""
    read, failures = indexer.read, iter(range(2))

    def starved(arrival: Arrival) -> Received:
        if next(failures, None) is not None:
            raise OSError(errno.EMFILE, "too many open files")
        return read(arrival)

    monkeypatch.setattr(indexer, "read", starved)
    with receiving(sqlite, tmp_path) as receiver:
        send(receiver.port, head(4))
        wait_until(lambda: count_indexed(sqlite) == 4, what="the index")
    with sqlite.read() as session:
        assert problems.recent(session) == []


@pytest.mark.risk("R-003")
def test_other_content_under_the_same_uid_is_kept_beside_and_reported(
    database: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """The first one stays what is analysed; the second is there, marked, and somebody is told."""
    first, second = head(1)[0], head(1)[0]
    second.SOPInstanceUID, second.StudyInstanceUID = first.SOPInstanceUID, first.StudyInstanceUID
    with receiving(database, tmp_path) as receiver:
        assert send(receiver.port, [first, second]) == [0x0000, 0x0000]
        wait_until(lambda: count_indexed(database) == 2, what="the index")
    with database.read() as session:
        rows = list(session.scalars(select(Instance).order_by(Instance.id)))
        (problem,) = problems.of_study(session, first.StudyInstanceUID)
    assert [row.conflict for row in rows] == [False, True]
    assert [dcmread(tmp_path / "spool" / row.path) for row in rows] == [first, second]
    assert problem.kind == problems.ProblemKind.UID_CONFLICT
    assert rows[1].path in problem.detail


def test_one_uid_in_two_studies_is_kept_in_both_and_reported(
    database: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """Neither study loses its object."""
    first, second = head(1)[0], head(1)[0]
    second.SOPInstanceUID = first.SOPInstanceUID
    with receiving(database, tmp_path) as receiver:
        assert send(receiver.port, [first, second]) == [0x0000, 0x0000]
        wait_until(lambda: count_indexed(database) == 2, what="the index")
    with database.read() as session:
        (problem,) = problems.recent(session)
    assert problem.kind == problems.ProblemKind.UID_IN_TWO_STUDIES
    told = f"{problem.study_instance_uid} {problem.detail}"
    assert first.StudyInstanceUID in told and second.StudyInstanceUID in told
    assert len(list((tmp_path / "spool" / "studies").glob("*/*.dcm"))) == 2


def test_an_object_without_a_study_goes_into_quarantine(
    database: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """It was acknowledged, so it is kept; nobody can say of which study, so a person is told."""
    anonymous = dcmread(
        raw_file(
            tmp_path / "anonymous.dcm",
            {0x00080016: ("UI", CTImageStorage.encode()), 0x00080018: ("UI", b"1.2.3")},
        )
    )
    with receiving(database, tmp_path) as receiver:
        assert send(receiver.port, [anonymous]) == [0x0000]

        def reported() -> bool:
            with database.read() as session:
                return bool(problems.recent(session))

        wait_until(reported, what="the problem")
    with database.read() as session:
        (problem,) = problems.recent(session)
        assert session.scalars(select(Study)).all() == []
    (file,) = (tmp_path / "spool" / "quarantine").iterdir()
    assert problem.kind == problems.ProblemKind.UNREADABLE_OBJECT
    assert file.name in problem.detail
    assert dcmread(file) == anonymous


def test_urgent_studies_are_marked(database: Database, tmp_path: Path, wait_until: Wait) -> None:
    """DIMSE priority HIGH, or a sender named in the settings, puts a study before others of its rank."""
    routine, high, emergency = head(1), head(1), head(1)
    with receiving(database, tmp_path, dicom={"stat_ae_titles": ("ER_CT",)}) as receiver:
        send(receiver.port, routine)
        send(receiver.port, high, priority=1)
        send(receiver.port, emergency, calling="ER_CT")
        wait_until(lambda: count_indexed(database) == 3, what="the index")
    with database.read() as session:
        found = {
            study.study_instance_uid: (study.stat, study.rank) for study in session.scalars(select(Study))
        }
    assert found == {
        routine[0].StudyInstanceUID: (False, Rank.UNKNOWN),
        high[0].StudyInstanceUID: (True, Rank.UNKNOWN_STAT),
        emergency[0].StudyInstanceUID: (True, Rank.UNKNOWN_STAT),
    }


@pytest.mark.risk("R-008")
def test_a_lost_database_is_rebuilt_from_the_spool(
    database: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """The spool is the truth: an empty database gets every study back, conflicts as conflicts."""
    objects, study = head(5), generate_uid()
    other = head(1)[0]
    other.SOPInstanceUID, other.StudyInstanceUID = objects[0].SOPInstanceUID, objects[0].StudyInstanceUID
    objects += [other, dose_report(study)]
    with receiving(database, tmp_path) as receiver:
        assert set(send(receiver.port, objects, calling="CT99")) == {0x0000}
        wait_until(lambda: count_indexed(database) == 7, what="the index")
    before = _index(database)
    _empty(database)
    with receiving(database, tmp_path):
        wait_until(lambda: count_indexed(database) == 7, what="the index, rebuilt")
    assert _index(database) == before
    with database.read() as session:
        assert set(session.scalars(select(Study.calling_ae_title))) == {"CT99"}


def _index(database: Database) -> set[tuple[str, str, str, bool]]:
    with database.read() as session:
        return {
            (row.sop_instance_uid, row.path, row.sha256, row.conflict)
            for row in session.scalars(select(Instance))
        }


def _empty(database: Database) -> None:
    with database.write() as session:
        for table in ("problems", "instances", "studies"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")


@pytest.mark.risk("R-023")
def test_a_database_that_is_away_delays_nobody(database_url: str, tmp_path: Path, wait_until: Wait) -> None:
    """Without a schema nothing can be indexed: objects are acknowledged all the same, and indexed later."""
    database = Database(database_url)
    with receiving(database, tmp_path) as receiver:
        assert set(send(receiver.port, head(4))) == {0x0000}
        migrate.upgrade(database)
        wait_until(lambda: count_indexed(database) == 4, what="the index")
    database.close()


def test_a_stop_waits_for_the_association_that_is_running(sqlite: Database, tmp_path: Path) -> None:
    """What is acknowledged before the end of a clean stop is indexed before it, too."""
    with receiving(sqlite, tmp_path) as receiver:
        assert set(send(receiver.port, head(10))) == {0x0000}
    assert count_indexed(sqlite) == 10


def test_what_a_dead_receiver_left_is_taken_up_by_another(
    database: Database, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the inbox, and in a study's folder without a row once the other one is silent for long enough."""
    monkeypatch.setattr(heartbeats, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(receivers, "_RESCAN_S", 0.2)
    spool = tmp_path / "spool"
    with receiving(database, tmp_path) as receiver:
        wait_until(
            lambda: receiver._caught_up.is_set() and not receiver._catching_up.is_alive(), what="a start"
        )
        placed, waiting = head(2, study="1.2.3", pixels=16)
        (spool / "studies" / "1.2.3").mkdir()
        placed.save_as(spool / "studies" / "1.2.3" / f"{placed.SOPInstanceUID}.dcm", enforce_file_format=True)
        name = f"{time.time_ns():020d}-r-0123456789abcdef.dcm"
        waiting.save_as(spool / name, enforce_file_format=True)
        (spool / name).rename(spool / "inbox" / name)
        wait_until(lambda: count_indexed(database) == 1, what="what lay in the inbox")
        with database.write() as session:
            silent = datetime.now(UTC) - timedelta(seconds=21)
            session.add(Receiver(id="dead", host="elsewhere", pid=1, seen_at=silent))
        wait_until(lambda: count_indexed(database) == 2, what="what lay in the study")
        with database.read() as session:
            assert session.get(Receiver, "dead") is None


def test_an_association_under_way_outlives_the_order_to_end(sqlite: Database, tmp_path: Path) -> None:
    """SIGTERM comes between two objects: both are taken, and the end waits for the release."""
    images = head(2, pixels=16)
    kinds = [(images[0].SOPClassUID, images[0].file_meta.TransferSyntaxUID)]
    receiver = receivers.Receiver(settings(tmp_path), sqlite, on_commitment=lambda _result: None)
    receiver.start()
    with associated(receiver.port, kinds) as association:
        first = association.send_c_store(images[0]).Status
        ending = threading.Thread(target=receiver.stop)
        ending.start()
        while receiver.checks["listener"]() is None:
            time.sleep(0.01)
        assert (first, association.send_c_store(images[1]).Status) == (0x0000, 0x0000)
    ending.join()
    assert count_indexed(sqlite) == 2
