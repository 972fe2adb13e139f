"""Studies: look up, set the state."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.priority import rank
from ..domain.states import ReasonCode, StudyState
from ..errors import ImagesRemovedError, UnknownStudyError
from .tables import Study


def get(session: Session, study_instance_uid: str, *, lock: bool = False) -> Study:
    """The study with that Study Instance UID, its row locked if wanted. Raises UnknownStudyError."""
    query = select(Study).where(Study.study_instance_uid == study_instance_uid)
    study = session.scalar(query.with_for_update() if lock else query)
    if study is None:
        raise UnknownStudyError(f"There is no study {study_instance_uid} in the database.")
    return study


def require_images(study: Study) -> None:
    """Raise ImagesRemovedError where retention has removed the images of a study and none came since."""
    if study.images_removed_at is not None and not study.instance_count:
        raise images_removed(study)


def images_removed(study: Study) -> ImagesRemovedError:
    """What a person is told who asks for what retention has removed."""
    return ImagesRemovedError(
        f"the images of study {study.study_instance_uid} were removed by retention on "
        f"{study.images_removed_at:%Y-%m-%d}; its results are kept. To see or to analyse it again, have its "
        "images sent again"
    )


def patient_id(session: Session, study_instance_uid: str) -> str | None:
    """Patient ID of a study, as received; None where it is not known."""
    query = select(Study.patient_id).where(Study.study_instance_uid == study_instance_uid)
    return session.scalar(query) or None


def set_state(
    study: Study, state: StudyState, *, code: ReasonCode | None = None, reason: str | None = None
) -> None:
    """Set the state with its reason, and the rank that follows from it and from `study.stat`."""
    study.state = state
    study.rank = rank(state, stat=study.stat)
    study.reason_code = code
    study.reason = reason
