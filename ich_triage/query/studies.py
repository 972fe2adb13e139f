"""Study Root C-FIND (PS3.4 section C.6.2): which studies there are, and which is to be read first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from sqlalchemy.orm import Session

from ..dicom.private import CREATOR, GROUP, Private
from ..errors import QueryError
from ..settings import Query as QuerySettings
from ..store import study_query
from ..store.database import Database
from ..store.study_query import Narrowing
from ..store.tables import Study
from .attributes import (
    ANALYSIS_KEYS,
    COUNTED_KEYS,
    PRIORITIES,
    SERIES_KEYS,
    STUDY_KEYS,
    UTF_8,
    add_analysis,
    add_counted,
    series_attributes,
    study_attributes,
    tags,
)
from .keys import Key
from .matching import bounds, glob, matches
from .status import DOES_NOT_MATCH_SOP_CLASS

#: studies whose objects or analyses are fetched together
_BATCH = 100
#: column of the studies table → the key whose pattern narrows by it
_PATTERNS = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "accession_number": "AccessionNumber",
}
_LEVELS = {"STUDY": STUDY_KEYS, "SERIES": SERIES_KEYS}


class StudyRoot:
    """Answers questions of the Study Root Query/Retrieve Information Model."""

    def __init__(self, settings: QuerySettings, database: Database) -> None:
        self._settings = settings
        self._database = database

    def find(self, keys: Sequence[Key]) -> tuple[list[Dataset], bool]:
        """The matches in reading order, one more than may be answered at most; and whether all keys count.

        Where there are more, those of one place are the newest, newest first. Raises QueryError where the
        question is none of this model's.
        """
        level = text_of(keys, "QueryRetrieveLevel")
        if level not in _LEVELS:
            raise QueryError(DOES_NOT_MATCH_SOP_CLASS, "QueryRetrieveLevel must be STUDY or SERIES")
        known, unknown = divided(keys, _LEVELS[level])
        with self._database.snapshot() as session:
            candidates = self._studies(session, known) if level == "STUDY" else self._series(session, known)
            found = matching(candidates, known, limit=self._settings.max_answers + 1)
        if level == "STUDY" and len(found) <= self._settings.max_answers:
            found = longest_waiting_first(found, place=reading_rank)
        return answers(found, known), not unknown

    def _studies(self, session: Session, keys: Sequence[Key]) -> Iterator[Dataset]:
        wanted = {key.tag for key in keys}
        for batch in batches(study_query.narrowed(session, narrowing(keys))):
            counted = study_query.series(session, batch) if wanted & COUNTED_KEYS else {}
            analysed = study_query.answers(session, batch) if wanted & ANALYSIS_KEYS else {}
            for study in batch:
                ds = study_attributes(study, retrieve=self._settings.retrieve_ae_title)
                if wanted & COUNTED_KEYS:
                    add_counted(ds, counted.get(study.id, ()))
                if wanted & ANALYSIS_KEYS:
                    add_analysis(ds, analysed.get(study.id))
                yield ds

    def _series(self, session: Session, keys: Sequence[Key]) -> Iterator[Dataset]:
        """Of one study: without relational queries its UID must be given (PS3.4 section C.4.1.2.1)."""
        uid = text_of(keys, "StudyInstanceUID")
        if not uid or set(uid) & set("*?\\"):
            raise QueryError(DOES_NOT_MATCH_SOP_CLASS, "SERIES level needs one StudyInstanceUID")
        for study in study_query.narrowed(session, Narrowing(study_instance_uids=[uid])):
            selection = study_query.selection(session, study)
            for row in study_query.series(session, [study]).get(study.id, ()):
                yield series_attributes(study, row, selection, retrieve=self._settings.retrieve_ae_title)


def batches(studies: Iterator[Study]) -> Iterator[list[Study]]:
    """Studies in groups, for which more is fetched together."""
    while batch := list(islice(studies, _BATCH)):
        yield batch


def matching(candidates: Iterable[Dataset], keys: Sequence[Key], *, limit: int) -> list[Dataset]:
    """The first `limit` candidates that meet every key."""
    return list(islice((each for each in candidates if all(matches(key, each) for key in keys)), limit))


def longest_waiting_first(found: Sequence[Dataset], *, place: Callable[[Dataset], Any]) -> list[Dataset]:
    """The whole list in reading order; `found` has the newest first among those of one `place`."""
    whole = list(reversed(found))
    whole.sort(key=place)  # equals stay in order
    return whole


def reading_rank(ds: Dataset) -> int:
    """The study's place on the reading list."""
    return int(ds[Private.READING_RANK.tag].value)


def answers(found: Iterable[Dataset], keys: Sequence[Key]) -> list[Dataset]:
    """What is told of each match."""
    wanted = [key.tag for key in keys]
    return [answer(ds, wanted) for ds in found]


def divided(keys: Sequence[Key], supported: Collection[BaseTag]) -> tuple[list[Key], list[Key]]:
    """Keys that we have values for, and others: those are not matched, and the answer says so (FF01)."""
    known = [key for key in keys if key.tag in supported]
    return known, [key for key in keys if key.tag not in supported]


def text_of(keys: Sequence[Key], keyword: str) -> str:
    """The text of one key; empty where it is not asked for."""
    (tag,) = tags(keyword)
    return next((key.text for key in keys if key.tag == tag), "")


def narrowing(keys: Sequence[Key], *, priority: str = "StudyPriorityID") -> Narrowing:
    """What the database can see to; `priority`: the attribute that carries it in this model."""
    uids = text_of(keys, "StudyInstanceUID")
    dates = text_of(keys, "StudyDate")
    level = text_of(keys, priority)
    patterns = {column: text_of(keys, keyword).strip() for column, keyword in _PATTERNS.items()}
    return Narrowing(
        study_instance_uids=uids.split("\\") if uids.strip("*") else None,
        study_date=bounds("DA", dates) if dates.strip("* ") else ("", ""),
        patterns={
            column: pattern.rstrip("^= ")
            for column, pattern in patterns.items()
            if pattern.strip("*") and "\\" not in pattern
        },
        ranks=[rank for rank, name in PRIORITIES.items() if _is_level(level, name)] if level else None,
    )


def _is_level(wanted: str, name: str) -> bool:
    """HIGH, MEDIUM or MED, and LOW, as the two attributes spell them."""
    spellings = (name, name[:3], name[:4])
    return any(glob(each.strip(), spelling) for each in wanted.split("\\") for spelling in spellings)


def answer(ds: Dataset, wanted: Iterable[BaseTag]) -> Dataset:
    """What was asked for of a match, and nothing else; what we do not know is empty."""
    told = Dataset()
    told.SpecificCharacterSet = UTF_8
    for tag in wanted:
        if tag in ds:
            if tag.is_private:
                told.private_block(GROUP, CREATOR, create=True)
            told[tag] = ds[tag]
    return told
