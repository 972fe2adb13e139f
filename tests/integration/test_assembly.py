"""When a study is complete, over both databases; time is an argument, so nobody waits."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
from pydicom.uid import CTImageStorage, XRayRadiationDoseSRStorage
from sqlalchemy import event, select

from ich_triage.domain.completeness import SlicePosition
from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.intake.assembly import GRACE_S, STUCK, Assembly
from ich_triage.intake.associations import Associations
from ich_triage.intake.indexer import Indexer
from ich_triage.intake.spool import Arrival, Spool
from ich_triage.settings import Assembly as AssemblySettings
from ich_triage.store import studies
from ich_triage.store.database import Database
from ich_triage.store.instances import Indexed, Received, index
from ich_triage.store.tables import Revision, Study
from tests.peers import program
from tests.receiving import AE_TITLE, receiving, send
from tests.scanner import dose_report, head

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SETTINGS = AssemblySettings(settle_s=1.0, quiet_s=10.0, cap_s=60.0)

Wait = Callable[..., None]


def _seconds(value: float) -> datetime:
    return START + timedelta(seconds=value)


def _slice(number: int, at: float, *, study: str = "1.2", conflict: bool = False) -> Indexed:
    position = SlicePosition(
        series_instance_uid=f"{study}.3",
        image_position=(0.0, 0.0, 5.0 * number),
        image_orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        is_axial_ct=True,
        instance_number=number,
        slice_thickness=5.0,
    )
    return _object(
        f"{study}.3.{number}", CTImageStorage, at, study=study, position=position, conflict=conflict
    )


def _object(
    uid: str,
    sop_class: str,
    at: float,
    *,
    study: str = "1.2",
    position: SlicePosition | None = None,
    conflict: bool = False,
) -> Indexed:
    received = Received(
        study_instance_uid=study,
        series_instance_uid=f"{study}.3",
        sop_instance_uid=uid,
        sop_class_uid=sop_class,
        patient_name="Test^Head",
        patient_id="ID7",
        accession_number="",
        study_description="",
        study_date="",
        calling_ae_title="CT",
        size=1,
        sha256=("b" if conflict else "a") * 64,
        received_at=_seconds(at),
        stat=False,
        positions=[asdict(position)] if position else None,
    )
    path = f"studies/{study}/{uid}{'.b' if conflict else ''}.dcm"
    return Indexed(received=received, path=path, conflict=conflict)


def _index(database: Database, items: Sequence[Indexed]) -> None:
    with database.write() as session:
        index(session, items, reopening=frozenset({CTImageStorage}))


def _assembly(database: Database, associations: Associations | None = None) -> Assembly:
    return Assembly(
        SETTINGS, database, associations or Associations(), indexed_up_to=lambda now: lambda _study: now
    )


def _revisions(database: Database) -> list[tuple[int, str]]:
    with database.read() as session:
        rows = session.scalars(select(Revision).order_by(Revision.study_id, Revision.number))
        return [(row.number, row.completed_by) for row in rows]


def _study(database: Database) -> Study:
    with database.read() as session:
        return session.scalars(select(Study)).one()


def test_a_whole_head_is_complete_after_the_grace(database: Database) -> None:
    """With no association open, geometry and a short silence suffice, and the ledger says when."""
    _index(database, [_slice(number, number / 100) for number in range(1, 25)])
    assembly = _assembly(database)
    last = 0.24
    assert assembly.sweep(_seconds(last + GRACE_S - 0.05)) == 0
    assert assembly.sweep(_seconds(last + GRACE_S)) == 1
    assert assembly.sweep(_seconds(last + 99)) == 0
    with database.read() as session:
        revision = session.scalars(select(Revision)).one()
    assert (revision.number, revision.completed_by) == (1, CompletedBy.GEOMETRY)
    assert (revision.first_slice_at, revision.last_slice_at) == (_seconds(0.01), _seconds(last))
    assert revision.complete_at == _seconds(last + GRACE_S)
    assert revision.last_instance_id > 0
    study = _study(database)
    assert (study.state, study.revision, study.assembling_since) == (StudyState.IN_PROGRESS, 1, None)


def test_an_open_association_asks_for_the_settle_time(database: Database) -> None:
    """While the sender is still there, a whole series waits longer; another study's sender is no matter."""
    associations = Associations()
    number, other = associations.begin(), associations.begin()
    associations.touched(number, "1.2")
    associations.touched(other, "9.9")
    _index(database, [_slice(number, 0) for number in range(1, 25)])
    assembly = _assembly(database, associations)
    assert assembly.sweep(_seconds(0.9)) == 0
    assert assembly.sweep(_seconds(1.0)) == 1
    assert _revisions(database) == [(1, CompletedBy.GEOMETRY)]


def test_a_slow_sender_is_given_time_by_its_own_pace(database: Database) -> None:
    """A scanner that sends a slice a second is not done after one: its head looks whole early."""
    assembly = _assembly(database)
    for number in range(1, 25):
        _index(database, [_slice(number, number)])
        assert assembly.sweep(_seconds(number + 0.9)) == assembly.sweep(_seconds(number + 3.9)) == 0
    assert assembly.sweep(_seconds(24 + 4)) == 1
    assert _revisions(database) == [(1, CompletedBy.GEOMETRY)]


@pytest.mark.risk("R-010")
def test_a_gap_waits_for_the_quiet_time(database: Database) -> None:
    """A head with a missing slice may still get it, but not for ever."""
    _index(database, [_slice(number, 0) for number in range(1, 25) if number != 12])
    assembly = _assembly(database)
    assert assembly.sweep(_seconds(9.9)) == 0
    assert assembly.sweep(_seconds(10.0)) == 1
    assert _revisions(database) == [(1, CompletedBy.QUIET)]


@pytest.mark.risk("R-010")
def test_a_study_that_never_falls_silent_is_capped(database: Database) -> None:
    """An endless trickle is analysed at the cap, with what is there."""
    assembly = _assembly(database)
    for number in range(1, 13):
        _index(database, [_slice(2 * number, 5.0 * number)])
        assert assembly.sweep(_seconds(5.0 * number)) == 0
    _index(database, [_slice(99, 64)])
    assert assembly.sweep(_seconds(65.0)) == 1
    assert _revisions(database) == [(1, CompletedBy.CAP)]


def test_a_study_without_images_ends_too(database: Database) -> None:
    """A lone dose report becomes a revision, so that the study gets its reason and ends."""
    _index(database, [_object("1.2.9", XRayRadiationDoseSRStorage, 0)])
    assert _assembly(database).sweep(_seconds(10.0)) == 1
    assert _revisions(database) == [(1, CompletedBy.QUIET)]


def test_late_slices_make_a_second_revision(database: Database) -> None:
    """They reopen the study; the new revision has a ledger of its own and covers everything."""
    assembly = _assembly(database)
    _index(database, [_slice(number, 0) for number in range(1, 21)])
    assert assembly.sweep(_seconds(1)) == 1
    _index(database, [_slice(number, 100) for number in range(21, 25)])
    assert _study(database).state == StudyState.RECEIVING
    assert assembly.sweep(_seconds(100.1)) == 0
    assert assembly.sweep(_seconds(101)) == 1
    with database.read() as session:
        first, second = session.scalars(select(Revision).order_by(Revision.number))
    assert second.first_slice_at == second.last_slice_at == _seconds(100)
    assert second.last_instance_id == first.last_instance_id + 4
    assert _study(database).state == StudyState.IN_PROGRESS


@pytest.mark.parametrize(
    "late",
    [
        _object("1.2.9", XRayRadiationDoseSRStorage, 100),
        _slice(3, 100, conflict=True),
        _slice(3, 100),
    ],
    ids=["dose report", "conflict", "duplicate"],
)
def test_what_cannot_change_the_analysis_reopens_nothing(database: Database, late: Indexed) -> None:
    """A late dose report, a conflicting copy and a duplicate leave a finished study as it is."""
    assembly = _assembly(database)
    _index(database, [_slice(number, 0) for number in range(1, 25)])
    assembly.sweep(_seconds(1))
    _index(database, [late])
    assert _study(database).assembling_since is None
    assert assembly.sweep(_seconds(999)) == 0


@pytest.mark.risk("R-020")
def test_a_flag_stays_up_while_late_slices_are_read(database: Database) -> None:
    """A suspected bleed is not hidden by its own next revision."""
    assembly = _assembly(database)
    _index(database, [_slice(number, 0) for number in range(1, 21)])
    assembly.sweep(_seconds(1))
    with database.write() as session:
        studies.set_state(studies.get(session, "1.2"), StudyState.FLAGGED)
    _index(database, [_slice(21, 100)])
    assert _study(database).state == StudyState.FLAGGED
    assert assembly.sweep(_seconds(101)) == 1
    assert (_study(database).state, _study(database).revision) == (StudyState.FLAGGED, 2)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_neither_delays_nor_hurries(sqlite: Database, step_s: float) -> None:
    """Set in the middle of a study: it is complete as long after its last slice as ever, not before."""
    assembly = _assembly(sqlite)

    def sweep(true_s: float) -> int:
        """When the clock has been set."""
        return assembly.sweep(_seconds(true_s + step_s), steady_s=true_s)

    _index(sqlite, [_slice(number, number / 100) for number in range(1, 13)])
    assert assembly.sweep(_seconds(0.2), steady_s=0.2) == 0
    assert sweep(0.3) == 0
    _index(sqlite, [_slice(number, 0.4 + step_s) for number in range(13, 25) if number != 18])
    assert [sweep(0.5), sweep(5.0), sweep(10.4)] == [0, 0, 0]
    assert sweep(10.6) == 1
    assert _revisions(sqlite) == [(1, CompletedBy.QUIET)]


def test_a_start_after_the_clock_was_set_back_waits_no_longer(sqlite: Database) -> None:
    """Slices from the future: the quiet time counts from the first look at them."""
    _index(sqlite, [_slice(number, 3600.0) for number in range(1, 12)])
    assembly = _assembly(sqlite)
    assert [assembly.sweep(_seconds(at)) for at in (0.0, 9.0, 10.1)] == [0, 0, 1]


def test_objects_that_wait_for_the_index_are_no_silence(database: Database) -> None:
    """While the index is behind, a study is not taken for silent: its slices may be what is waiting."""
    _index(database, [_slice(number, 0) for number in range(1, 25)])
    behind = Assembly(
        SETTINGS, database, Associations(), indexed_up_to=lambda _now: lambda _study: _seconds(0.1)
    )
    assert behind.sweep(_seconds(500)) == 0


def test_what_another_receiver_has_not_indexed_is_no_silence(database: Database) -> None:
    """An object that waits in the shared inbox holds a study up, but not one that nobody can index."""
    _index(database, [_slice(number, 0) for number in range(1, 25)])
    waiting = [_seconds(0.1)]
    sweeping = Assembly(
        SETTINGS,
        database,
        Associations(),
        indexed_up_to=lambda now: lambda _study: now,
        oldest_waiting=lambda: waiting[0],
    )
    assert sweeping.sweep(_seconds(30)) == 0
    assert sweeping.sweep(_seconds(0.1) + STUCK) == 1


def test_a_study_that_came_through_two_receivers_waits_the_settle_time(database: Database) -> None:
    """Whether the other one's associations have ended is not known here; what all came here is."""
    associations = Associations()
    associations.alone = False
    for _ in range(20):
        associations.touched(None, "1.2")
    _index(database, [_slice(number, 0) for number in range(1, 25)])
    assembly = _assembly(database, associations)
    assert assembly.sweep(_seconds(0.9)) == 0
    for _ in range(4):
        associations.touched(None, "1.2")
    assert assembly.sweep(_seconds(0.9)) == 1


def test_a_rescan_of_old_studies_holds_up_no_new_one(sqlite: Database, tmp_path: Path) -> None:
    """What waits for the index delays the study it belongs to, where that is known, and no other."""
    spool = Spool(tmp_path / "spool", reserve_bytes=0)
    indexer, now, before = Indexer(spool, sqlite, Associations()), _seconds(100), _seconds(-1000)
    indexer.put([Arrival(path=spool.studies / "1.2.3" / "1.dcm", received_at=before)])
    known_until = indexer.indexed_up_to(now)
    assert (known_until("1.2.3"), known_until("1.2.4")) == (before, now)
    indexer.put([Arrival(path=spool.inbox / "2.dcm", received_at=_seconds(99))])
    assert indexer.indexed_up_to(now)("1.2.4") == _seconds(99)


def test_a_slice_that_comes_during_the_sweep_is_not_left_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and deciding the study is looked at again, under its lock."""
    _index(database, [_slice(number, 0) for number in range(1, 25)])
    assembly = _assembly(database)
    decide = assembly._complete

    def late(seen: Study, rule: CompletedBy, now: datetime | None) -> bool:
        _index(database, [_slice(25, 0.9)])
        return decide(seen, rule, now)

    monkeypatch.setattr(assembly, "_complete", late)
    assert assembly.sweep(_seconds(1)) == 0
    monkeypatch.undo()
    assert assembly.sweep(_seconds(2)) == 1


def test_two_receivers_open_one_revision(database: Database) -> None:
    """Sweeping at the same moment, exactly one of them completes each study."""
    for study in range(5):
        _index(database, [_slice(number, 0, study=f"1.{study}") for number in range(1, 25)])
    barrier, done = Barrier(2), []

    def sweep() -> None:
        own = Database(database.url.render_as_string(hide_password=False))
        barrier.wait()
        done.append(_assembly(own).sweep(_seconds(5)))
        own.close()

    threads = [Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 5
    assert _revisions(database) == [(1, CompletedBy.GEOMETRY)] * 5


def test_finished_studies_cost_a_sweep_nothing(database: Database) -> None:
    """A sweep over finished studies is one query, which the index on what is assembling answers."""
    _index(database, [_slice(1, 0, study=f"1.{number}") for number in range(50)])
    assembly = _assembly(database)
    assert assembly.sweep(_seconds(20)) == 50
    statements: list[str] = []

    def note(*arguments: object) -> None:
        if (statement := str(arguments[2])) != "BEGIN":
            statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    assert assembly.sweep(_seconds(40)) == 0
    event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) == 1
    if database.is_sqlite:
        with database.read() as session:
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[0]}").all()
        assert any("ix_studies_assembling" in str(row) for row in plan)


@pytest.mark.peer
def test_a_real_head_from_dcmsend_is_complete_by_geometry(
    database: Database, tmp_path: Path, real_head: Path, wait_until: Wait
) -> None:
    """28 slices of a real, tilted head in two thicknesses: whole, without waiting for the quiet time."""
    with receiving(database, tmp_path, assembly={"quiet_s": 1000.0}) as receiver:
        command = [program("dcmsend"), "-aec", AE_TITLE, "127.0.0.1", str(receiver.port)]
        subprocess.run([*command, *sorted(map(str, real_head.glob("*.dcm")))], check=True, timeout=60)
        wait_until(lambda: _revisions(database) == [(1, CompletedBy.GEOMETRY)], what="the revision")
    assert _study(database).instance_count == 28


def test_one_association_for_each_image_is_one_revision(
    database: Database, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some scanners connect anew for every slice: the gaps between are not the end of the study."""
    monkeypatch.setattr("ich_triage.intake.assembly.GRACE_S", 3.0)  # a busy test machine is a slow scanner
    objects = head(26)
    with receiving(database, tmp_path, assembly={"quiet_s": 1000.0, "settle_s": 3.0}) as receiver:
        for data in objects:
            assert send(receiver.port, [data]) == [0x0000]
        assert send(receiver.port, [dose_report(objects[0].StudyInstanceUID)]) == [0x0000]
        wait_until(lambda: _revisions(database), what="the revision")
    assert _revisions(database) == [(1, CompletedBy.GEOMETRY)]
    assert _study(database).instance_count == 27
