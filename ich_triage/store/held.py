"""All rows that are held of one patient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from .account_tables import Audit
from .tables import Base, Delivery, Feedback, Instance, Problem, Revision, Study
from .ups_tables import ProcedureStep, StepEvent, Subscription

Json = dict[str, Any]


def studies_of(session: Session, patient_id: str) -> Sequence[Study]:
    """Studies with exactly this Patient ID, oldest first."""
    return session.scalars(select(Study).where(Study.patient_id == patient_id).order_by(Study.id)).all()


def similar_ids(session: Session, patient_id: str) -> list[str]:
    """Other Patient IDs that differ in case, blanks, punctuation or leading zeros alone."""
    wanted = _core(patient_id)
    known = session.scalars(select(Study.patient_id).distinct().order_by(Study.patient_id))
    return [each for each in known if each != patient_id and wanted and _core(each) == wanted]


def _core(patient_id: str) -> str:
    return re.sub(r"[\W_]", "", re.sub(r"(?<!\d)0+(?=\d)", "", patient_id)).casefold()


def rows_of(session: Session, study: Study) -> dict[str, list[Json]]:
    """Table → rows, of everything that is about a study, as JSON; the audit trail's too."""
    uid = study.study_instance_uid
    revisions = select(Revision.id).where(Revision.study_id == study.id)
    steps = select(ProcedureStep.id).where(ProcedureStep.study_id == study.id)
    step_uids = select(ProcedureStep.sop_instance_uid).where(ProcedureStep.study_id == study.id)
    found: list[tuple[type[Base], Any]] = [
        (Study, Study.id == study.id),
        (Instance, Instance.study_id == study.id),
        (Revision, Revision.study_id == study.id),
        (Delivery, Delivery.revision_id.in_(revisions)),
        (Feedback, Feedback.revision_id.in_(revisions)),
        (ProcedureStep, ProcedureStep.study_id == study.id),
        (Subscription, Subscription.step_id.in_(steps)),
        (StepEvent, StepEvent.sop_instance_uid.in_(step_uids)),
        (Problem, Problem.study_instance_uid == uid),
        (Audit, Audit.study_instance_uid == uid),
    ]
    return {
        table.__tablename__: [_as_json(row) for row in session.scalars(select(table).where(condition))]
        for table, condition in found
    }


def _as_json(row: Base) -> Json:
    values = {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs}
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}


def destinations_of(session: Session, studies: Sequence[Study]) -> list[str]:
    """Names of the destinations that were sent anything of these studies."""
    return list(
        session.scalars(
            select(Delivery.destination)
            .join(Revision, Revision.id == Delivery.revision_id)
            .where(Revision.study_id.in_([study.id for study in studies]), Delivery.attempts > 0)
            .distinct()
            .order_by(Delivery.destination)
        )
    )
