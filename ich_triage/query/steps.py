"""Procedure steps to ask for: C-FIND and N-GET of UPS (PS3.4 sections CC.2.7 and CC.2.8)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from sqlalchemy.orm import Session

from ..domain.states import OutputKind
from ..domain.step import FINAL_STEP_STATES, StepState
from ..domain.uid import is_uid
from ..errors import QueryError
from ..settings import Settings
from ..storage.files import Files, files_of
from ..store import deliveries, study_query, ups
from ..store.database import Database
from ..store.tables import Study
from ..store.ups_tables import ProcedureStep
from .attributes import tags
from .keys import Key
from .matching import glob
from .status import NO_SUCH_STEP
from .step_attributes import (
    ANALYSIS_KEYS,
    INPUT_KEYS,
    STEP_KEYS,
    Reference,
    add_inputs,
    add_words,
    step_attributes,
)
from .studies import (
    answer,
    answers,
    divided,
    longest_waiting_first,
    matching,
    narrowing,
    reading_rank,
    text_of,
)

_BATCH = 100
#: C-FIND of UPS names no level, and a peer that sends one means nothing by it
_IGNORED = tags("QueryRetrieveLevel")


#: who asks by one of them wants those studies, however old they are
_PRECISE = tags(
    "SOPInstanceUID",
    "StudyInstanceUID",
    "ScheduledProcedureStepStartDateTime",
    "ScheduledProcedureStepModificationDateTime",
)


class Steps:
    """Answers questions about procedure steps."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings.query
        self._shown_for = timedelta(hours=settings.worklist.hours)
        self._spool = files_of(settings.spool)
        self._database = database

    def find(self, keys: Sequence[Key]) -> tuple[list[Dataset], bool]:
        """The matches in reading order, one more than may be answered at most; and whether all keys count.

        Where there are more, those of one place are the newest, newest first.
        """
        known, unknown = divided([key for key in keys if key.tag not in _IGNORED], STEP_KEYS)
        with self._database.snapshot() as session:
            candidates = self._candidates(session, known)
            found = matching(candidates, known, limit=self._settings.max_answers + 1)
        if len(found) <= self._settings.max_answers:
            found = longest_waiting_first(found, place=_place)
        return answers(found, known), not unknown

    def get(self, sop_instance_uid: str, wanted: Collection[BaseTag]) -> tuple[Dataset, bool]:
        """The wanted attributes of one step, all where none is named; and whether it has every one of them.

        Raises QueryError where there is no such step.
        """
        asked = set(wanted) or set(STEP_KEYS)
        with self._database.read() as session:
            step = ups.find(session, sop_instance_uid)
            if step is None:
                raise QueryError(NO_SUCH_STEP, "there is no such procedure step here")
            (ds,) = self._described(session, [step], asked)
        return answer(ds, asked), asked <= set(STEP_KEYS)

    def _candidates(self, session: Session, keys: Sequence[Key]) -> Iterator[Dataset]:
        states = text_of(keys, "ProcedureStepState")
        uids = text_of(keys, "SOPInstanceUID")
        precise = any(key.tag in _PRECISE and not key.is_universal for key in keys)
        steps = ups.narrowed(
            session,
            narrowing(keys, priority="ScheduledProcedureStepPriority"),
            states=[
                state for state in StepState if any(glob(each.strip(), state) for each in states.split("\\"))
            ]
            if states
            else None,
            uids=uids.split("\\") if uids.strip("*") else None,
            waiting_since=None if precise else datetime.now(UTC) - self._shown_for,
        )
        wanted = {key.tag for key in keys}
        while batch := list(islice(steps, _BATCH)):
            yield from self._described(session, batch, wanted)

    def _described(
        self, session: Session, steps: Sequence[ProcedureStep], wanted: Collection[BaseTag]
    ) -> Iterator[Dataset]:
        """With what the asker wants and a look at the objects or the analysis costs."""
        worded = bool(ANALYSIS_KEYS & set(wanted))
        analysed = study_query.answers(session, [step.study for step in steps]) if worded else {}
        for step in steps:
            ds = step_attributes(step)
            if worded:
                add_words(ds, step.study, analysed.get(step.study_id))
            if INPUT_KEYS & set(wanted):
                series = self._inputs(session, step.study)
                add_inputs(ds, step.study, list(series), archive=self._settings.retrieve_ae_title)
            yield ds

    def _inputs(self, session: Session, study: Study) -> Iterator[tuple[str, Sequence[Reference]]]:
        """The chosen series, else all; then the report, once a destination has it."""
        chosen = (study_query.selection(session, study).get("chosen") or {}).get("series_instance_uid")
        every = [row.series_instance_uid for row in study_query.series(session, [study]).get(study.id, ())]
        for uid in [chosen] if chosen in every else every:
            yield uid, study_query.images(session, study, uid)
        reports = {
            each.sop_instance_uid: each
            for each in deliveries.of_study(session, study.study_instance_uid)
            if each.kind == OutputKind.SR and each.sent_at is not None
        }
        for each in list(reports.values())[-1:]:
            if series := _series_of(self._spool, each.path):
                yield series, [(each.sop_class_uid, each.sop_instance_uid)]


def _place(ds: Dataset) -> tuple[bool, int]:
    """Ended ones last, then by rank."""
    return ds.ProcedureStepState in FINAL_STEP_STATES, reading_rank(ds)


def _series_of(spool: Files, path: str) -> str:
    """Series Instance UID of an object of ours; empty where its file is gone."""
    try:
        uid = str(
            dcmread(spool.local([path])[0], specific_tags=["SeriesInstanceUID"]).get("SeriesInstanceUID", "")
        )
    except (OSError, InvalidDicomError):
        return ""
    return uid if is_uid(uid) else ""
