"""Studies on the list that nobody sent: rows as the pipeline leaves them, for pages to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from pydicom.uid import generate_uid

from ich_triage.domain.finding import Analysis, ImageReference, SliceScore
from ich_triage.domain.priority import rank
from ich_triage.domain.states import ANALYSED_STATES, CompletedBy, ReasonCode, StudyState
from ich_triage.store.database import Database
from ich_triage.store.tables import Revision, Study
from tests.reports import PACKAGE, SUBARACHNOID, SUBDURAL

_ANALYSIS = TypeAdapter(Analysis)
_REASONS = {
    StudyState.NOT_ANALYSED: (ReasonCode.CONTRAST, "contrast agent was given"),
    StudyState.FAILED: (ReasonCode.ANALYSIS_ERROR, "the analysis stopped with an error: run it again"),
}
SLICES = 12


def put_on_list(
    database: Database,
    name: str,
    state: StudyState = StudyState.FLAGGED,
    *,
    minutes: float = 5,
    stat: bool = False,
    **columns: Any,
) -> str:
    """A study whose first slice came `minutes` ago; `columns` of its row besides. Returns its UID."""
    uid, at = generate_uid(), datetime.now(UTC) - timedelta(minutes=minutes)
    code, reason = _REASONS.get(state, (None, None))
    values = {"patient_id": "ID7", "accession_number": "ACC9", "study_description": "CT head"} | columns
    study = Study(
        study_instance_uid=uid,
        patient_name=name,
        study_date="20260102",
        state=state,
        rank=rank(state, stat=stat),
        stat=stat,
        reason_code=code,
        reason=reason,
        instance_count=SLICES,
        first_slice_at=at,
        last_slice_at=at,
        revision=int(state is not StudyState.RECEIVING),
        **values,
    )
    with database.write() as session:
        session.add(study)
        if state is not StudyState.RECEIVING:
            session.add(_revision(study, state))
    return uid


def _revision(study: Study, state: StudyState) -> Revision:
    done = None if state is StudyState.IN_PROGRESS else study.last_slice_at + timedelta(seconds=6.4)
    return Revision(
        study=study,
        number=1,
        state=state,
        reason_code=study.reason_code,
        reason=study.reason,
        completed_by=CompletedBy.GEOMETRY,
        last_instance_id=0,
        analysis=_analysis(flagged=state is StudyState.FLAGGED) if state in ANALYSED_STATES else None,
        first_slice_at=study.first_slice_at,
        last_slice_at=study.last_slice_at,
        complete_at=study.last_slice_at,
        enqueued_at=study.last_slice_at,
        started_at=study.last_slice_at,
        stored_at=done,
    )


def _analysis(*, flagged: bool) -> dict[str, Any]:
    any_bleed = 0.94 if flagged else 0.03
    scores = (any_bleed, 0.01, 0.02, 0.01, 0.61 if flagged else 0.01, 0.93 if flagged else 0.01)
    slices = tuple(
        SliceScore(
            image=ImageReference(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid=f"1.2.{z}"),
            position_mm=5.0 * z,
            probabilities=scores,
        )
        for z in range(SLICES)
    )
    analysis = Analysis(
        package=PACKAGE,
        operating_point="balanced",
        threshold=0.5,
        probabilities=scores,
        flagged=flagged,
        slices=slices,
        findings=(SUBDURAL, SUBARACHNOID) if flagged else (),
    )
    dumped: dict[str, Any] = _ANALYSIS.dump_python(analysis, mode="json")
    return dumped
