"""The JSON API, version 1: what the pages show, for programs; the same rights."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..domain.audit import AuditEvent
from ..domain.states import StudyState
from ..store import feedback, problems, workers
from ..store import worklist as query
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
        422: "A value cannot be used",
    }.items()
}
router = APIRouter(prefix="/api/v1", tags=["worklist"], responses=REFUSALS)

Uid = Annotated[str, Path(description="Study Instance UID", max_length=64)]
Own = Annotated[Parts, Depends(parts)]
Viewer = Annotated[Principal, Depends(viewer)]
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
    #: received in the last so many hours
    hours: float = Field(default=24.0, gt=0, le=100_000)
    #: at most so many
    limit: int = Field(default=50, ge=1, le=500)
    #: without the first so many
    offset: int = Field(default=0, ge=0, le=1_000_000)


@router.get("/worklist", response_model=schema.Worklist)
def worklist(request: Request, own: Own, who: Viewer, asked: Annotated[Wanted, Query()]) -> Json:
    """Studies in the order in which they should be read."""
    order = reading_order(own.settings.worklist, datetime.now(UTC))
    wanted = query.Wanted(since=order.now - timedelta(hours=asked.hours), states=frozenset(asked.state))
    with own.database.read() as session:
        found = query.page(session, wanted, order, limit=asked.limit, offset=asked.offset)
        alive = len(workers.living(session, dead_after_s=own.settings.worker.dead_after_s))
        told = document.worklist(found, query.counts(session, wanted), order, workers=alive)
    audited(request, who, AuditEvent.API_READ, rows=len(found))
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
def give_feedback(
    request: Request, own: Own, who: Annotated[Principal, Depends(reader)], uid: Uid, answer: schema.Answer
) -> Json:
    """Keep a reader's answer to the present result; a later one of the same reader replaces it."""
    opinion = feedback.Opinion(
        reader=who.name,
        agrees=answer.agrees,
        subtypes=None if answer.subtypes is None else frozenset(answer.subtypes),
        note=answer.note,
    )
    with own.database.write() as session:
        row = query.one(session, uid)
        if row.decided is None or row.newest is not row.decided:
            raise Refused(409, f"study {uid} has no result, or slices came since: answer once it is analysed")
        told = document.opinion(feedback.give(session, row.decided, opinion, datetime.now(UTC)))
    own.shared.forget()
    audited(request, who, AuditEvent.FEEDBACK_GIVEN, study_instance_uid=uid)
    return told


@router.get("/studies/{uid}/pictures", response_model=schema.Pictures)
def pictures(request: Request, own: Own, who: Viewer, uid: Uid) -> Json:
    """How many images there are to scroll through, and outlines of what was found."""
    with own.database.read() as session:
        row = query.one(session, uid)
    stack = own.stacks.of(row)
    audited(request, who, AuditEvent.PICTURES_VIEWED, study_instance_uid=uid)
    return {
        "slices": len(stack.headers),
        "analysed": row.decided is not None and row.decided.analysis is not None,
        "outlines": stack.outlines,
    }


@router.get("/studies/{uid}/pictures/{index}", response_class=Response, responses=_HU)
def picture(
    request: Request, own: Own, who: Viewer, uid: Uid, index: Annotated[int, Path(ge=0, le=100_000)]
) -> Response:
    """One image in HU; index 0 is the lowest slice."""
    with own.database.read() as session:
        row = query.one(session, uid)
    try:
        hu, spacing = own.stacks.of(row).picture(index)
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
