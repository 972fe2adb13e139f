"""Studies that the service has analysed, in its database and spool, for readers to judge."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ich_triage.domain.states import StudyState
from ich_triage.store.database import Database
from ich_triage.store.tables import Instance
from tests.heads import tiny_head
from tests.rows import add_revision


def add_study(database: Database, spool: Path, uid: str, *, clot: bool) -> None:
    """A tiny head of a patient of its own, flagged where it has a clot."""
    state = StudyState.FLAGGED if clot else StudyState.NOT_FLAGGED
    folder = spool / "studies" / uid
    folder.mkdir(parents=True)
    with database.write() as session:
        revision = add_revision(session, uid, state)
        revision.analysis = {"package": {"weights_sha256": "ab" * 32}}
        slices = tiny_head(study=uid, clot=clot)
        revision.study.instance_count = len(slices)
        for ds in slices:
            ds.PatientID = f"P{uid}"
            path = folder / f"{ds.SOPInstanceUID}.dcm"
            ds.save_as(path, enforce_file_format=True)
            instance = Instance(
                study_id=revision.study_id,
                series_instance_uid=ds.SeriesInstanceUID,
                sop_instance_uid=ds.SOPInstanceUID,
                sop_class_uid=ds.SOPClassUID,
                path=path.relative_to(spool).as_posix(),
                size=path.stat().st_size,
                sha256=f"{hash(path) % 10**60:064d}",
                received_at=datetime.now(UTC),
            )
            session.add(instance)
            session.flush()
            revision.last_instance_id = instance.id
