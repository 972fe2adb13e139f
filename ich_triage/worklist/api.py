"""The JSON API, version 1: what the pages show, for programs; the same rights."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..domain.audit import AuditEvent
from ..domain.labels import Subtype
from ..domain.states import StudyState
from ..store import feedback, problems
from ..store import worklist as query
from ..store.tables import Revision
from . import document, schema
from .access import Principal, audited, reader, viewer
from .document import Json
from .order import reading_order
from .parts import Parts, parts
from .refusals import PROBLEM, Refused

#: what a route may answer besides what it is for
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.Problem, "description": words, "content": {PROBLEM: {}}}
    for status, words in {
        401: "Nobody is logged in, or the token is not valid",
        403: "The role does not allow it",
        404: "No such study",
        409: "There is no result to answer, or the answer contradicts itself",
        410: "Retention has removed the images of the study",
        422: "A value cannot be used",
    }.items()
}
router = APIRouter(prefix="/api/v1", tags=["worklist"], responses=REFUSALS)

Uid = Annotated[str, Path(description="Study Instance UID", pattern=r"^[0-9][0-9.]{0,63}$")]
Own = Annotated[Parts, Depends(parts)]
Viewer = Annotated[Principal, Depends(viewer)]
Reader = Annotated[Principal, Depends(reader)]
Index = Annotated[int, Path(ge=0, le=100_000)]
_HU: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "description": "HU, 16-bit signed integers, little endian, row by row, the patient's right first; "
        "`X-Rows`, `X-Columns`, and `X-Pixel-Spacing` (row, column, mm)",
    }
}


class Wanted(BaseModel):
    """Which studies. No words to search for: names have no place in an address."""

    model_config = ConfigDict(extra="forbid")

    #: of these states; all where left out
    state: list[StudyState] = Field(default=[], max_length=len(StudyState))
    #: with news in the last so many hours; left out, as long as the page shows them
    hours: float | None = Field(default=None, gt=0, le=100_000)
    #: at most so many
    limit: int = Field(default=50, ge=1, le=500)
    #: without the first so many
    offset: int = Field(default=0, ge=0, le=1_000_000)

    def words(self) -> str:
        """For the audit trail."""
        return " ".join([*sorted(self.state), f"from {self.offset}"])


@router.get("/worklist", response_model=schema.Worklist)
def worklist(request: Request, own: Own, who: Viewer, asked: Annotated[Wanted, Query()]) -> Json:
    """Studies in the order in which they should be read."""
    order = reading_order(own.settings.worklist, datetime.now(UTC))
    hours = asked.hours or own.settings.worklist.hours
    wanted = query.Wanted(since=order.now - timedelta(hours=hours), states=frozenset(asked.state))
    with own.database.read() as session:
        found = query.page(session, wanted, order, limit=asked.limit, offset=asked.offset)
        told = document.worklist(found, query.counts(session, wanted), order, own.alive())
    audited(request, who, AuditEvent.API_READ, rows=len(found), asked=asked.words())
    return told


@router.get("/studies/{uid}", response_model=schema.Study)
def study(request: Request, own: Own, who: Viewer, uid: Uid) -> Json:
    """Everything known of one study."""
    told = study_document(own, uid)
    audited(request, who, AuditEvent.API_READ, study_instance_uid=uid)
    return told


def study_document(own: Parts, uid: str) -> Json:
    """What the API and the page tell of a study. Raises UnknownStudyError."""
    order = reading_order(own.settings.worklist, datetime.now(UTC))
    with own.database.read() as session:
        row = query.one(session, uid)
        history = query.revisions(session, row.study)
        return document.study(row, history, problems.of_study(session, uid), order)


@router.post("/studies/{uid}/feedback", response_model=schema.Opinion, status_code=201)
def give_feedback(request: Request, own: Own, who: Reader, uid: Uid, answer: schema.Answer) -> Json:
    """Keep a reader's answer to the result that was seen; a later one of the same reader replaces it."""
    with own.database.write() as session:
        row = query.one(session, uid)
        seen = _seen(row, answer)
        told = document.opinion(feedback.give(session, seen, _opinion(row, who, answer), datetime.now(UTC)))
    own.shared.forget()
    audited(request, who, AuditEvent.FEEDBACK_GIVEN, study_instance_uid=uid)
    return told


@router.delete("/studies/{uid}/feedback", status_code=204)
def take_feedback_back(request: Request, own: Own, who: Reader, uid: Uid) -> None:
    """Take the reader's own answer back, so that the study is unanswered again."""
    with own.database.write() as session:
        feedback.withdraw(session, query.one(session, uid).study, who.name, datetime.now(UTC))
    own.shared.forget()
    audited(request, who, AuditEvent.FEEDBACK_GIVEN, study_instance_uid=uid)


def _seen(row: query.Row, answer: schema.Answer) -> Revision:
    """The revision that the answer is about. Raises Refused where it is not the one that holds."""
    uid = row.study.study_instance_uid
    if row.decided is None or row.decided.analysis is None:
        raise Refused(409, f"study {uid} has no result to agree or disagree with")
    if not row.covers_all:
        raise Refused(409, f"slices of study {uid} came since: answer once they are analysed")
    if answer.revision != row.decided.number:
        raise Refused(
            409, f"study {uid} has a newer result than the one on your page: look at it, then answer"
        )
    return row.decided


def _opinion(row: query.Row, who: Principal, answer: schema.Answer) -> feedback.Opinion:
    """The answer, with what was said before and is left out now, while the reader says the same."""
    told = answer.model_dump(include={"subtypes", "note"})
    before = next((each for each in row.feedback if each.reader == who.name), None)
    if before is not None and before.agrees == answer.agrees and before.revision is row.decided:
        kept = {"subtypes": before.subtypes, "note": before.note}
        told |= {name: value for name, value in kept.items() if name not in answer.model_fields_set}
    named = told["subtypes"]
    return feedback.Opinion(
        reader=who.name,
        agrees=answer.agrees,
        subtypes=None if named is None else frozenset(Subtype(each) for each in named),
        note=told["note"],
    )


@router.get("/studies/{uid}/pictures", response_model=schema.Pictures)
def pictures(request: Request, own: Own, who: Viewer, uid: Uid) -> Json:
    """How many images there are to scroll through, and outlines of what was found."""
    with own.database.read() as session:
        row = query.one(session, uid)
    stack = own.stacks.of(row)
    audited(request, who, AuditEvent.PICTURES_VIEWED, study_instance_uid=uid)
    return {
        "stack": stack.name,
        "slices": len(stack.headers),
        "analysed": row.decided is not None and row.decided.analysis is not None,
        "outlines": stack.outlines,
    }


class Picture(BaseModel):
    """Which image of which stack."""

    model_config = ConfigDict(extra="forbid")

    #: name of the stack that the index counts in
    stack: str = Field(max_length=64)


@router.get("/studies/{uid}/pictures/{index}", response_class=Response, responses=_HU)
def picture(
    request: Request,
    own: Own,
    who: Viewer,
    uid: Uid,
    index: Index,
    of: Annotated[Picture, Query()],
) -> Response:
    """One image in HU; index 0 is the lowest slice."""
    with own.database.read() as session:
        row = query.one(session, uid)
    stack = own.stacks.of(row)
    if of.stack != stack.name:
        raise Refused(409, f"study {uid} has other images, or another result, by now: load the page again")
    try:
        hu, spacing = stack.picture(index)
    except IndexError:
        raise Refused(404, f"study {uid} has no image {index}") from None
    audited(request, who, AuditEvent.PICTURES_VIEWED, study_instance_uid=uid)
    rows, columns = hu.shape
    headers = {
        "X-Rows": str(rows),
        "X-Columns": str(columns),
        "X-Pixel-Spacing": "\\".join(f"{each:g}" for each in spacing),
    }
    return Response(hu.tobytes(), media_type="application/octet-stream", headers=headers)
