"""What goes when: by age, by space, and never before it is settled; on both databases."""

from __future__ import annotations

import multiprocessing
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from structlog.testing import capture_logs

from ich_triage.domain.audit import AuditEvent, AuditRecord
from ich_triage.domain.states import DeliveryState, StudyState
from ich_triage.errors import ImagesRemovedError
from ich_triage.keeping import aside, remove
from ich_triage.keeping.aside import Aside
from ich_triage.keeping.retention import Retention
from ich_triage.storage.folder import Folder
from ich_triage.store import audit, problems, removal, results, studies
from ich_triage.store.account_tables import Audit
from ich_triage.store.database import Database
from ich_triage.store.tables import Delivery, Instance, Revision, Study
from ich_triage.store.ups_tables import ProcedureStep
from tests.analysed import SLICES
from tests.keeping import NOW, add_old, age, files, keeping, rows, study_row
from tests.scanner import head
from tests.service import complete, put

OLD, YOUNG = "1.2.100", "1.2.200"


def _run(database: Database, folder: Path, **retention: float) -> None:
    """One run that deletes at once what it has put aside."""
    Retention(keeping(folder, **retention), database, grace_s=0).run(NOW)
    Retention(keeping(folder), database, grace_s=0).run(NOW)


def _images(folder: Path, uid: str) -> list[str]:
    return [path for path in files(folder) if path.startswith((f"studies/{uid}/", f"masks/{uid}/"))]


def test_nothing_is_deleted_unless_a_site_says_so(sqlite: Database, tmp_path: Path) -> None:
    """With the default ages a study of ten years ago is kept whole."""
    add_old(sqlite, tmp_path, OLD, days=3650)
    before = files(tmp_path), rows(sqlite)
    _run(sqlite, tmp_path)
    assert (files(tmp_path), rows(sqlite)) == before


def test_old_halves_go_and_young_ones_stay(sqlite: Database, tmp_path: Path) -> None:
    """What a worker that died has left of a report or of masks, and of neither what is being written."""
    add_old(sqlite, tmp_path, OLD)
    whole = files(tmp_path)
    for path, age_s in (
        ("outbox/1/1/.sr.dcm.x", 7200),
        ("masks/1/.1.npz.x", 7200),
        ("masks/1/.2.npz.x", 600),
    ):
        half = tmp_path / "spool" / path
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"half")
        os.utime(half, (NOW.timestamp() - age_s,) * 2)
    _run(sqlite, tmp_path)
    assert sorted(files(tmp_path)) == sorted([*whole, "masks/1/.2.npz.x"])


def test_old_studies_go_with_all_that_is_known_of_them(database: Database, tmp_path: Path) -> None:
    """Neither a row nor a file is left of a study that is old enough; a younger one is untouched."""
    add_old(database, tmp_path, YOUNG, days=29)
    kept = files(tmp_path), rows(database)
    add_old(database, tmp_path, OLD, days=31)
    with database.write() as session:
        step = ProcedureStep(study_id=studies.get(session, OLD).id, number=1, sop_instance_uid="1.9")
        step.state, step.created_at, step.changed_at = "SCHEDULED", NOW, NOW
        step.reported_state, step.reported_rank, step.reported_ready = "flagged", 2, True
        session.add(step)
    _run(database, tmp_path, studies_days=30)
    assert (files(tmp_path), rows(database)) == kept
    assert not [path for path in (tmp_path / "spool").rglob("*") if OLD in path.parts]


def test_images_go_earlier_and_results_stay(database: Database, tmp_path: Path) -> None:
    """Without its images a study keeps analysis, report and place on the list, and says since when."""
    add_old(database, tmp_path, OLD, days=31)
    before = study_row(database, OLD)
    with database.read() as session:
        derived = results.objects_sha256(session, _revision(session))
    _run(database, tmp_path, images_days=30, studies_days=60)
    after = study_row(database, OLD)
    assert files(tmp_path) == [f"outbox/{OLD}/1/sr_9.dcm"]
    assert after.images_removed_at and after.instance_count == 0
    assert after.changed_at == before.changed_at
    with database.read() as session:
        assert _revision(session).analysis
        assert results.objects_sha256(session, _revision(session)) == derived
        with pytest.raises(ImagesRemovedError, match=f"removed by retention on {after.images_removed_at:%F}"):
            studies.require_images(after)


def _revision(session: object) -> Revision:
    return session.scalars(select(Revision)).one()  # type: ignore[attr-defined]


_UNSETTLED = {
    "still received": update(Study).values(assembling_since=NOW),
    "being analysed": update(Revision).values(state=StudyState.IN_PROGRESS),
    "report on its way": update(Delivery).values(state=DeliveryState.PENDING, next_attempt_at=NOW),
    "commitment awaited": update(Delivery).values(state=DeliveryState.SENT, next_attempt_at=NOW),
}


@pytest.mark.parametrize("why", _UNSETTLED)
@pytest.mark.risk("R-025")
def test_nothing_goes_before_it_is_settled(database: Database, tmp_path: Path, why: str) -> None:
    """However old and however full the disk: what is under way is waited for."""
    add_old(database, tmp_path, OLD)
    with database.write() as session:
        session.execute(_UNSETTLED[why])
    age(database, OLD, days=100)
    before = files(tmp_path), rows(database)
    full = keeping(tmp_path, studies_days=1, images_days=1, free_bytes=1, free_until_bytes=10**9)
    Retention(full, database, free=lambda _: 0, grace_s=0).run(NOW)
    assert (files(tmp_path), rows(database)) == before


@pytest.mark.risk("R-025")
def test_nothing_goes_that_the_list_still_shows(sqlite: Database, tmp_path: Path) -> None:
    """A flag is to be seen for `[worklist] hours` after its last news, whatever retention says."""
    add_old(sqlite, tmp_path, OLD, days=2.9)
    before = files(tmp_path), rows(sqlite)
    full = keeping(tmp_path, studies_days=0.1, images_days=0.1, free_bytes=1, free_until_bytes=10**9)
    Retention(full, sqlite, free=lambda _: 0, grace_s=0).run(NOW)
    assert (files(tmp_path), rows(sqlite)) == before


@pytest.mark.risk("R-121")
def test_below_the_low_mark_the_oldest_images_go_until_the_high_one(sqlite: Database, tmp_path: Path) -> None:
    """As many as it takes, oldest first; above the low mark none."""
    uids = [f"1.2.{number}" for number in range(4)]
    for number, uid in enumerate(uids):
        add_old(sqlite, tmp_path, uid, days=50 - number)
    with sqlite.read() as session:
        found = removal.removable(session, before=NOW, with_images=True, limit=10)
    size = found[0].image_bytes
    marks = keeping(tmp_path, free_bytes=1000, free_until_bytes=1000 + size + 1)
    Retention(marks, sqlite, free=lambda _: 1000, grace_s=0).run(NOW)
    assert all(_images(tmp_path, uid) for uid in uids)
    Retention(marks, sqlite, free=lambda _: 999, grace_s=10**6).run(NOW)
    assert [bool(_images(tmp_path, uid)) for uid in uids] == [False, False, True, True]
    # what lies aside is as good as free: nothing more goes for it
    Retention(marks, sqlite, free=lambda _: 999, grace_s=10**6).run(NOW)
    assert [bool(_images(tmp_path, uid)) for uid in uids] == [False, False, True, True]


def test_a_disk_that_cannot_be_freed_is_told(sqlite: Database, tmp_path: Path) -> None:
    """Where nothing is old enough the log says that space is low."""
    add_old(sqlite, tmp_path, OLD, days=1)
    marks = keeping(tmp_path, free_bytes=1000, free_until_bytes=2000)
    with capture_logs() as logged:
        Retention(marks, sqlite, free=lambda _: 0).run(NOW)
    assert [each for each in logged if each["event"] == "space_low"]


def test_old_audit_records_problems_and_strays_go(sqlite: Database, tmp_path: Path) -> None:
    """The audit trail has its own age; what belongs to no study goes with the studies of its time."""
    quarantine = tmp_path / "spool" / "quarantine"
    quarantine.mkdir(parents=True)
    for name, days in (("old.dcm", 40), ("young.dcm", 20)):
        (quarantine / name).touch()
        at = (NOW - timedelta(days=days)).timestamp()
        os.utime(quarantine / name, (at, at))
    with sqlite.write() as session:
        for days in (400, 40, 20):
            at = NOW - timedelta(days=days)
            audit.append(session, AuditRecord(at=at, event=AuditEvent.LOGGED_OUT, actor=str(days)))
            kind = problems.ProblemKind.UNREADABLE_OBJECT
            problems.report(session, kind, at=at, study_instance_uid=None, detail=str(days))
    _run(sqlite, tmp_path, studies_days=30, audit_days=365)
    assert files(tmp_path) == ["quarantine/young.dcm"]
    with sqlite.read() as session:
        assert session.scalars(select(Audit.actor).order_by(Audit.id)).all() == ["40", "20"]
        assert [each.detail for each in problems.recent(session)] == ["20"]


@pytest.mark.risk("R-111")
def test_logs_tell_ids_and_counts_alone(sqlite: Database, tmp_path: Path) -> None:
    """What was deleted can be followed; whose it was cannot."""
    add_old(sqlite, tmp_path, OLD)
    with capture_logs() as logged:
        _run(sqlite, tmp_path, images_days=1)
        _run(sqlite, tmp_path, studies_days=1)
    told = {each["event"]: each for each in logged}
    assert told["study_images_removed"]["objects"] == SLICES
    assert told["study_removed"]["study_instance_uid"] == OLD
    assert "NAME" not in str(logged)


def test_a_clock_that_was_set_forward_deletes_nothing(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By years, say: all studies look old. Retention rests until somebody has looked and starts it again."""
    retention = Retention(keeping(tmp_path, studies_days=30), sqlite)
    retention.run()
    add_old(sqlite, tmp_path, "1.2.1")
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + 10 * 365 * 86_400)
    with capture_logs() as logs:
        retention.run()
        retention.run()
    assert rows(sqlite)["studies"] == 1
    assert [entry["event"] for entry in logs] == ["retention_paused"] * 2


def test_one_process_at_a_time(sqlite: Database, tmp_path: Path) -> None:
    """While another process deletes, a second one lets it."""
    add_old(sqlite, tmp_path, OLD)
    with Aside(Folder(tmp_path / "spool")).alone() as mine:
        assert mine
        Retention(keeping(tmp_path, studies_days=1), sqlite).run(NOW)
    assert study_row(sqlite, OLD)


def test_an_object_that_has_no_row_yet_stays(sqlite: Database, tmp_path: Path) -> None:
    """What the receiver has just placed and not yet indexed is no part of what is removed."""
    add_old(sqlite, tmp_path, OLD)
    late = tmp_path / "spool" / "studies" / OLD / "1.2.3.4.dcm"
    late.write_bytes(b"late")
    _run(sqlite, tmp_path, images_days=1)
    assert _images(tmp_path, OLD) == [f"studies/{OLD}/1.2.3.4.dcm"]


def test_an_object_that_came_again_in_the_same_instant_is_put_back(sqlite: Database, tmp_path: Path) -> None:
    """The receiver dropped it for being there; then its row was written, and its file had just gone aside."""
    add_old(sqlite, tmp_path, OLD)
    images = head(SLICES, study=OLD, pixels=32)
    with sqlite.read() as session:
        row = session.scalars(select(Instance).limit(1)).one()
        again = Instance(**{column.name: getattr(row, column.name) for column in Instance.__table__.columns})
    assert images
    Retention(keeping(tmp_path, images_days=1), sqlite).run(NOW)
    with sqlite.write() as session:
        session.add(again)
    _run(sqlite, tmp_path)
    assert (tmp_path / "spool" / again.path).is_file()
    assert [path for path in _images(tmp_path, OLD) if path.startswith("studies")] == [again.path]


def test_late_slices_after_removal_say_why_they_are_too_few(sqlite: Database, tmp_path: Path) -> None:
    """Images that come again are images of the study again, with a revision of their own."""
    add_old(sqlite, tmp_path, OLD)
    _run(sqlite, tmp_path, images_days=1)
    images = head(SLICES, study=OLD, pixels=32)
    put(sqlite, tmp_path / "spool", images)
    study = study_row(sqlite, OLD)
    assert study.instance_count == SLICES and study.assembling_since and study.images_removed_at
    revision_id = complete(sqlite, OLD)
    with sqlite.read() as session:
        assert len(results.instances(session, results.get(session, revision_id))) == SLICES
    studies.require_images(study)


def _dying(function: object, after: int) -> object:
    """`function` that kills its process when it is called for the time after `after` times."""
    calls = []

    def run(*arguments: object, **named: object) -> object:
        if len(calls) == after:
            os.kill(os.getpid(), 9)
        calls.append(1)
        return function(*arguments, **named)  # type: ignore[operator]

    return run


def _run_and_die(folder: Path, url: str, where: str, after: int, what: dict[str, float]) -> None:
    owner, name = {
        "mark": (remove.removal, "mark_images"),
        "move": (Path, "rename"),
        "sync": (aside, "sync"),
        "rows": (remove.removal, "drop_images" if "images_days" in what else "drop_study"),
        "delete": (Path, "unlink"),
    }[where]
    setattr(owner, name, _dying(getattr(owner, name), after))
    database = Database(url)
    for _ in range(2):
        Retention(keeping(folder, **what), database, grace_s=0).run(NOW)


@pytest.mark.parametrize("what", ["images_days", "studies_days"])
@pytest.mark.parametrize(
    ("where", "after"),
    [("mark", 0), ("move", 0), ("move", 3), ("sync", 1), ("rows", 0), ("delete", 0), ("delete", 3)],
)
def test_a_death_at_any_point_leaves_nothing_unexplained(
    sqlite: Database, tmp_path: Path, where: str, after: int, what: str
) -> None:
    """After kill -9 a missing file's study says so; the next run comes to the same end as without a death."""
    add_old(sqlite, tmp_path, OLD)
    dying = multiprocessing.get_context("fork").Process(
        target=_run_and_die, args=(tmp_path, str(sqlite.url), where, after, {what: 1.0})
    )
    sqlite.close()  # nobody else's connection goes into the fork
    dying.start()
    dying.join(30)
    assert dying.exitcode == -9
    with sqlite.read() as session:
        lost = [p for p in session.scalars(select(Instance.path)) if not (tmp_path / "spool" / p).exists()]
        assert not lost or session.scalars(select(Study.images_removed_at)).one() is not None
    # without any setting the next run first finishes, or undoes, what it finds
    _run(sqlite, tmp_path)
    with sqlite.read() as session:
        named = set(session.scalars(select(Instance.path)))
    there = {path for path in files(tmp_path) if path.startswith("studies/")}
    assert named == there and not any(path.startswith("removed/") for path in files(tmp_path))
    _run(sqlite, tmp_path, **{what: 1.0})
    assert files(tmp_path) == ([] if what == "studies_days" else [f"outbox/{OLD}/1/sr_9.dcm"])
    assert ("studies" in rows(sqlite)) == (what == "images_days")


def test_a_study_that_cannot_go_keeps_no_other(sqlite: Database, tmp_path: Path) -> None:
    """It stays whole, the log names it, and the next run goes on with the others."""
    add_old(sqlite, tmp_path, OLD, days=50)
    stuck = files(tmp_path)
    add_old(sqlite, tmp_path, YOUNG, days=40)
    with sqlite.write() as session:
        session.execute(text("CREATE TABLE claims (study_id INTEGER REFERENCES studies (id))"))
        session.execute(text(f"INSERT INTO claims SELECT id FROM studies WHERE study_instance_uid = '{OLD}'"))
    with capture_logs() as logged:
        _run(sqlite, tmp_path, studies_days=30)
    assert {each["event"]: each for each in logged}["study_not_removed"]["study_instance_uid"] == OLD
    assert files(tmp_path) == stuck and study_row(sqlite, OLD).images_removed_at is None


def _run_once(folder: Path, url: str) -> None:
    database = Database(url)
    Retention(keeping(folder, studies_days=1), database, grace_s=0).run(NOW)
    database.close()


def test_several_processes_at_once_do_not_fight(sqlite: Database, tmp_path: Path) -> None:
    """Whoever comes while one deletes goes away; all ends as if there were one."""
    for number in range(4):
        add_old(sqlite, tmp_path, f"1.2.{number}")
    sqlite.close()
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_run_once, args=(tmp_path, str(sqlite.url))) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert [each.exitcode for each in workers] == [0, 0, 0]
    _run(sqlite, tmp_path)
    assert (files(tmp_path), rows(sqlite)) == ([], {})
