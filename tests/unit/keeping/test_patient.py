"""One patient's data: all of it copied out, all of it erased, and nothing of anybody else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select, update

from ich_triage.domain.audit import AuditEvent, AuditRecord
from ich_triage.errors import RemovalError
from ich_triage.keeping import patient
from ich_triage.keeping.aside import Aside
from ich_triage.storage.folder import Folder
from ich_triage.store import audit, deliveries, feedback, held, problems, studies
from ich_triage.store.account_tables import Audit
from ich_triage.store.database import Database
from ich_triage.store.feedback import Opinion
from ich_triage.store.tables import Base, Delivery, Revision, Study
from tests.analysed import SLICES
from tests.keeping import NOW, add_old, files, rows

MINE, HIS, THEIRS = "1.2.71", "1.2.72", "1.2.73"
#: what is written of a patient in these tests; each is looked for in every byte afterwards
SECRETS = (b"NAME1271", b"NAME1272", b"SECRETNOTE", b"PID-0007")


@pytest.fixture
def spool(database: Database, tmp_path: Path) -> Path:
    """Two studies of the patient PID-0007, one with an answer; one of another with a similar ID."""
    for uid in (MINE, HIS, THEIRS):
        add_old(database, tmp_path, uid, days=1)
    with database.write() as session:
        mine = Study.study_instance_uid.in_([MINE, HIS])
        session.execute(update(Study).where(mine).values(patient_id="PID-0007"))
        session.execute(update(Study).where(~mine).values(patient_id="pid 7"))
        revision = session.scalars(select(Revision).join(Study).where(Study.study_instance_uid == MINE)).one()
        feedback.give(session, revision, Opinion(reader="ann", agrees=True, note="SECRETNOTE"), NOW)
        kind = problems.ProblemKind.UID_CONFLICT
        problems.report(session, kind, at=NOW, study_instance_uid=MINE, detail="came again")
        look = AuditRecord(at=NOW, event=AuditEvent.STUDY_VIEWED, actor="ann", study_instance_uid=MINE)
        audit.append(session, look)
        session.execute(update(Delivery).values(attempts=1))
    return tmp_path / "spool"


def _erase(database: Database, spool: Path, *, patience_s: float = 5) -> list[int]:
    """Returns the ids of the revisions that the queue was to forget."""
    forgotten: list[int] = []

    def forget(found: Sequence[Revision]) -> None:
        forgotten.extend(each.id for each in found)

    patient.erase(database, Folder(spool), "PID-0007", actor="root", forget=forget, patience_s=patience_s)
    return forgotten


def test_an_export_holds_every_row_object_and_look(database: Database, spool: Path, tmp_path: Path) -> None:
    """Both studies with objects, masks, reports, answers, problems and who looked; nothing of the other."""
    out = tmp_path / "out"
    assert patient.export(database, Folder(spool), "PID-0007", out, actor="root") == 2
    assert sorted(each.name for each in out.iterdir()) == [MINE, HIS]
    kept = json.loads((out / MINE / "rows.json").read_text())
    assert {table: len(found) for table, found in kept.items() if found} == {
        "studies": 1,
        "instances": SLICES,
        "revisions": 1,
        "deliveries": 1,
        "feedback": 1,
        "problems": 1,
        "audit": 1,
    }
    assert kept["studies"][0]["patient_id"] == "PID-0007" and kept["feedback"][0]["note"] == "SECRETNOTE"
    assert len(list((out / MINE / "received").iterdir())) == SLICES
    assert (out / MINE / "reports" / "1_sr_9.dcm").read_bytes() == b"report"
    assert (out / MINE / "masks" / "1.npz").is_file()
    with pytest.raises(RemovalError, match="not empty"):
        patient.export(database, Folder(spool), "PID-0007", out, actor="root")


def test_erasure_leaves_no_row_and_no_byte(database: Database, spool: Path, tmp_path: Path) -> None:
    """All of the patient is gone, from SQLite's file, too; the other patient has lost nothing."""
    before = rows(database)
    theirs = [path for path in files(tmp_path) if THEIRS in path]
    assert len(_erase(database, spool)) == 2
    assert files(tmp_path) == theirs
    after = rows(database)
    assert after == {
        "studies": 1,
        "instances": SLICES,
        "revisions": 1,
        "deliveries": 1,
        "audit": before["audit"] + 1,
    }
    if database.is_sqlite:
        held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert not [secret for secret in SECRETS if secret in held]


def test_the_record_of_an_erasure_says_nothing_of_the_patient(database: Database, spool: Path) -> None:
    """Who did it, when, and how many studies; looks at the patient's studies stay on record."""
    _erase(database, spool)
    with database.read() as session:
        look, erasure = session.scalars(select(Audit).order_by(Audit.id)).all()
    assert (erasure.event, erasure.actor, erasure.rows) == ("patient_erased", "root", 2)
    assert erasure.study_instance_uid is erasure.about is erasure.asked is None
    assert (look.event, look.study_instance_uid) == ("study_viewed", MINE)


def test_what_is_under_way_is_not_erased(database: Database, spool: Path, tmp_path: Path) -> None:
    """One study of the patient with a report on its way keeps all of them, and is named."""
    with database.write() as session:
        deliveries.redeliver(session, HIS, destination=None, now=NOW)
    before = files(tmp_path), rows(database)
    with pytest.raises(RemovalError, match=f"study {HIS}: a report of it is on its way"):
        _erase(database, spool)
    assert (files(tmp_path), rows(database)) == before


@pytest.mark.risk("R-025")
def test_an_id_must_match_exactly_and_others_are_named(
    database: Database, spool: Path, tmp_path: Path
) -> None:
    """Other spellings may be other people: they are told, never taken along."""
    found = patient.find(database, "PID-0007")
    assert [each.study_instance_uid for each in found.studies] == [MINE, HIS]
    assert found.told == ("pacs",)
    assert found.similar == ("pid 7",)
    assert patient.find(database, "PID-00071").similar == ()
    with pytest.raises(RemovalError, match="exactly this patient ID"):
        patient.export(database, Folder(spool), "pid-7", tmp_path / "out", actor="root")


def test_an_erasure_waits_for_retention_and_then_says_so(database: Database, spool: Path) -> None:
    """Two that delete at once would each take the other's files for left behind."""
    with Aside(Folder(spool)).alone(), pytest.raises(RemovalError, match="try again in a minute"):
        _erase(database, spool, patience_s=0.1)
    with database.read() as session:
        assert studies.get(session, MINE)


def test_every_table_about_a_study_is_exported_and_erased(sqlite: Database, tmp_path: Path) -> None:
    """A table that leads to a study by its keys, or names one, is among those that an export reads."""
    add_old(sqlite, tmp_path, MINE)
    with sqlite.read() as session:
        known = set(held.rows_of(session, studies.get(session, MINE)))
    about = {"studies"}
    for table in Base.metadata.sorted_tables:  # parents first
        leads = {key.column.table.name for key in table.foreign_keys} & about
        if leads or "study_instance_uid" in table.columns:
            about.add(table.name)
    assert known == about | {"ups_events"}  # which name the step by its UID
