"""The service on a spool in a real object store: received, analysed, looked at, removed; the store away."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage
from sqlalchemy import select

from ich_triage.domain.commitment import Reason
from ich_triage.domain.states import StudyState
from ich_triage.intake import bucket_spool, indexer
from ich_triage.intake.receiver import Receiver
from ich_triage.keeping import backup, patient
from ich_triage.keeping.retention import Retention
from ich_triage.outputs.outbox import Outbox
from ich_triage.outputs.report import Device
from ich_triage.pipeline.stages import Stages
from ich_triage.settings import Settings, Spool
from ich_triage.storage.bucket import Bucket
from ich_triage.storage.files import files_of
from ich_triage.store import instances
from ich_triage.store import worklist as query
from ich_triage.store.database import Database
from ich_triage.store.tables import Instance, Revision, Study
from ich_triage.worklist.stack import Stacks
from tests.analyser import ThresholdAnalyser
from tests.committing import ask, committing, references
from tests.forks import Forks
from tests.heads import tiny_head
from tests.keeping import NOW, age
from tests.object_store import ObjectStore, object_store
from tests.receiving import count_indexed, receiving, send, settings
from tests.scanner import ct_slice, head
from tests.service import study, write_config

Wait = Callable[..., None]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """One server for all; each test has a prefix of its own."""
    with object_store(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def spool(store: ObjectStore, tmp_path: Path) -> dict[str, Any]:
    """`[spool]` of this test."""
    return store.settings(tmp_path, prefix=tmp_path.name)


def _config(folder: Path, spool: dict[str, Any], **sections: dict[str, Any]) -> Path:
    """For processes, as a file."""
    given = {key: str(value) for key, value in spool.items()} | {"reserve_bytes": 0}
    return write_config(folder, spool=given, **sections)


def _objects(store: ObjectStore, folder: Path) -> list[str]:
    return [key.partition("/")[2] for key in store.objects() if key.startswith(f"{folder.name}/")]


def test_acknowledged_objects_lie_in_the_store_and_nowhere_else(
    database: Database, store: ObjectStore, spool: dict[str, Any], tmp_path: Path, wait_until: Wait
) -> None:
    """Each in its study; the same twice is once, the same UID with other content is kept and told apart."""
    images = head(4, study="1.2.3", pixels=16)
    changed = ct_slice(1, study="1.2.3", series=str(images[0].SeriesInstanceUID), pixels=16)
    changed.SOPInstanceUID = changed.file_meta.MediaStorageSOPInstanceUID = images[0].SOPInstanceUID
    changed.PatientComments = "not the same"
    with receiving(database, tmp_path, spool=spool) as receiver:
        assert send(receiver.port, [*images, images[1], changed]) == [0x0000] * 6
        wait_until(lambda: count_indexed(database) == 5, what="the index")
        wait_until(lambda: len(_objects(store, tmp_path)) == 5, what="the repeated one to go")
        assert not list((tmp_path / "local").rglob("*.dcm"))
    with database.read() as session:
        rows = session.scalars(select(Instance)).all()
        assert len(instances.images(session, session.scalars(select(Study)).one())) == 4
    assert sorted(row.path for row in rows) == _objects(store, tmp_path)
    assert [row.sop_instance_uid for row in rows if row.conflict] == [images[0].SOPInstanceUID]


def test_commitment_is_answered_by_what_the_store_holds(
    sqlite: Database,
    store: ObjectStore,
    spool: dict[str, Any],
    tmp_path: Path,
    wait_until: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the inbox, in the index, and deleted behind our back; what never came is not held."""
    monkeypatch.setattr(bucket_spool, "_FOLLOWS_S", 0.0)
    indexed, lost, inboxed = head(3, pixels=16)
    missing = (CTImageStorage, "1.2.3.4.5")
    with (
        receiving(sqlite, tmp_path, spool=spool) as receiver,
        committing(receiver.port) as (scanner, told),
    ):
        assert [scanner.send_c_store(each).Status for each in (indexed, lost)] == [0, 0]
        wait_until(lambda: count_indexed(sqlite) == 2, what="the index")
        (gone,) = (key for key in _objects(store, tmp_path) if lost.SOPInstanceUID in key)
        Bucket(Spool(**spool)).delete([gone])

        def stuck(_arrival: object) -> None:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr(indexer, "read", stuck)
        assert scanner.send_c_store(inboxed).Status == 0
        assert ask(scanner, "1.2.9", [*references([indexed, lost, inboxed]), missing]) == 0x0000
        _, result = told.get(timeout=20)
    assert result.committed == {indexed.SOPInstanceUID, inboxed.SOPInstanceUID}
    assert result.failed == dict.fromkeys((lost.SOPInstanceUID, missing[1]), Reason.NO_SUCH_INSTANCE)


def test_an_unreachable_store_refuses_and_keeps_nothing(
    sqlite: Database,
    store: ObjectStore,
    spool: dict[str, Any],
    tmp_path: Path,
    wait_until: Wait,
    forks: Forks,
) -> None:
    """A700 while it is away, told by readiness and doctor; what the scanner sends again then arrives."""
    image = ct_slice(1, study="1.2.3", series="1.2.3.4", pixels=16)
    with receiving(sqlite, tmp_path, spool=spool) as receiver:
        assert receiver.checks["spool"]() is None
        store.stop()
        try:
            assert send(receiver.port, [image]) == [0xA700]
            assert receiver.checks["spool"]() == "the object store of the spool does not answer"
            config = _config(tmp_path, spool)
            told = forks.run(tmp_path, "doctor", "--no-model", "--json", "--config", config)
            (found,) = (each for each in json.loads(told.stdout) if each["subject"] == "spool store")
            assert found["level"] == "error" and "A700" in found["seen"] and found["remedy"]
        finally:
            store.start()
        assert _objects(store, tmp_path) == [] and not list((tmp_path / "local").rglob("*.dcm"))
        assert send(receiver.port, [image]) == [0x0000]
        wait_until(lambda: count_indexed(sqlite) == 1, what="the index")


def test_a_host_that_is_lost_with_its_disk_loses_nothing(
    database: Database,
    store: ObjectStore,
    spool: dict[str, Any],
    tmp_path: Path,
    wait_until: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Acknowledged and not indexed: another host finds it in the inbox, and what had reached its study."""
    images = head(4, study="1.2.3", pixels=16)
    monkeypatch.setattr(Receiver, "_arrived", lambda *_: None)
    with receiving(database, tmp_path, spool=spool) as receiver:
        assert send(receiver.port, images) == [0x0000] * 4
    monkeypatch.undo()
    (first, *_) = _objects(store, tmp_path)
    uid = str(dcmread(store.bucket / tmp_path.name / first, stop_before_pixels=True).SOPInstanceUID)
    bucket = Bucket(settings(tmp_path, spool=spool).spool)
    bucket.copy(first, f"studies/1.2.3/{uid}.{first[-20:]}")
    bucket.delete([first])
    with receiving(database, tmp_path, spool=spool | {"path": tmp_path / "other"}):
        wait_until(lambda: count_indexed(database) == 4, what="the index")
    assert all(key.startswith("studies/1.2.3/") for key in _objects(store, tmp_path))


def _revision(database: Database) -> int | None:
    """The one that assembly has opened."""
    with database.read() as session:
        return session.scalar(select(Revision.id))


@pytest.fixture
def analysed(
    database: Database, spool: dict[str, Any], tmp_path: Path, wait_until: Wait
) -> tuple[Settings, str]:
    """A study with a bleed that has come over the network and was analysed on another host."""
    images = tiny_head(clot=True)
    with receiving(database, tmp_path, spool=spool) as receiver:
        assert set(send(receiver.port, images)) == {0x0000}
        wait_until(lambda: _revision(database), what="the complete study")
    revision = _revision(database)
    assert revision
    using = settings(tmp_path, spool=spool | {"path": tmp_path / "worker"}, retention={"images_days": 30})
    uid = str(images[0].StudyInstanceUID)
    files = files_of(using.spool)
    stages = Stages(
        database=database,
        spool=files,
        analyser=ThresholdAnalyser(),  # type: ignore[arg-type]
        outbox=Outbox(files, ()),
        device=Device(ae_title="ICH_TRIAGE", version="0"),
    )
    stages.select(revision)
    outcome = stages.analyse(revision)
    stages.store(revision, outcome, stages.render(revision, outcome))
    assert not list((tmp_path / "worker").rglob("*.dcm"))
    return using, uid


def test_a_study_is_analysed_looked_at_exported_saved_and_removed(
    database: Database, store: ObjectStore, analysed: tuple[Settings, str], tmp_path: Path
) -> None:
    """Every user of the spool finds in the store what it wants; retention leaves nothing of the images."""
    using, uid = analysed
    told = study(database, uid)
    assert told["state"] == StudyState.FLAGGED
    assert any(key.startswith(f"outbox/{uid}/1/sr_") for key in _objects(store, tmp_path))
    with database.read() as session:
        row = query.one(session, uid)
        patient_id, count = row.study.patient_id, row.study.instance_count
    stack = Stacks(database, files_of(using.spool)).of(row)
    assert stack.outlines and stack.picture(0)[0].any()
    patient.export(database, files_of(using.spool), patient_id, tmp_path / "out", actor="root")
    assert len(list((tmp_path / "out" / uid / "received").iterdir())) == count
    saved = backup.backup(using, database, tmp_path / "saved")
    assert saved.missing == 0 and saved.files == len(_objects(store, tmp_path))
    age(database, uid, days=31)
    for _ in range(2):
        Retention(using, database, grace_s=0).run(NOW)
    assert {key.split("/")[0] for key in _objects(store, tmp_path)} == {"outbox"}
    patient.erase(database, files_of(using.spool), patient_id, actor="root", forget=lambda _: None)
    assert _objects(store, tmp_path) == []


def test_a_removal_that_is_not_committed_removes_nothing(
    database: Database, store: ObjectStore, analysed: tuple[Settings, str], tmp_path: Path
) -> None:
    """A death between the note and the end of the transaction leaves every object; the note goes in time."""
    using, _ = analysed
    before = _objects(store, tmp_path)
    retention = Retention(using, database, grace_s=0)
    with pytest.raises(KeyboardInterrupt), database.write() as session:
        found = session.scalars(select(Study)).one()
        retention._aside.put_images(found, session.scalars(select(Instance)).all())
        raise KeyboardInterrupt
    assert len(_objects(store, tmp_path)) == len(before) + 1
    retention.run(NOW)
    assert _objects(store, tmp_path) == before


def test_a_store_that_is_away_costs_a_study_time_and_no_attempt(
    sqlite: Database,
    store: ObjectStore,
    spool: dict[str, Any],
    tmp_path: Path,
    wait_until: Wait,
    forks: Forks,
) -> None:
    """A worker waits for it, however often it has to look, and does not call the study failed."""
    images = tiny_head(study="1.2.3")
    with receiving(sqlite, tmp_path, spool=spool) as receiver:
        assert set(send(receiver.port, images)) == {0x0000}
        wait_until(lambda: _revision(sqlite), what="the complete study")
    config = _config(tmp_path, spool, worker={"max_attempts": 1})
    log = tmp_path / "worker.log"
    log.touch()
    store.stop()
    try:
        worker = forks.start("worker", log, config=str(config))
        wait_until(lambda: "revision_waits" in log.read_text(), what="a look at the store")
    finally:
        store.start()
    wait_until(lambda: study(sqlite, "1.2.3")["state"] == StudyState.NOT_FLAGGED, what="the result")
    worker.end()
