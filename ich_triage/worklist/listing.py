"""The worklist page: a form of filters, and the rows that it asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field

from ..domain.audit import AuditEvent
from ..domain.states import StudyState
from ..store import worklist as query
from ..store.alive import Alive
from . import document
from .access import Principal, audited, viewer
from .document import Json
from .events import Changes
from .order import reading_order
from .parts import Parts, parts
from .schema import NO_NUL

router = APIRouter(include_in_schema=False)

#: the four kinds of study that must be told apart at a glance
KINDS: dict[str, frozenset[StudyState]] = {
    "flagged": frozenset({StudyState.FLAGGED}),
    "not_analysed": frozenset({StudyState.NOT_ANALYSED}),
    "open": frozenset({StudyState.RECEIVING, StudyState.IN_PROGRESS, StudyState.FAILED}),
    "not_flagged": frozenset({StudyState.NOT_FLAGGED}),
}


class Filters(BaseModel):
    """What the form says. It travels in the body: what is searched for may be a name."""

    #: of `KINDS`; none means all
    kind: list[str] = Field(default=[], max_length=len(KINDS))
    #: words of name, id, accession number or description
    search: str = Field(default="", max_length=200, pattern=NO_NUL)
    #: leave out what a reader has answered
    unanswered: bool = False
    #: 1, 2, …
    page: int = Field(default=1, ge=1, le=100_000)

    def wanted(self, since: datetime) -> query.Wanted:
        """The same as a query; kinds that do not exist match nothing and are left out."""
        states = frozenset[StudyState]().union(*(KINDS.get(kind, frozenset()) for kind in self.kind))
        return query.Wanted(
            since=since, states=states, words=tuple(self.search.split()), unanswered=self.unanswered
        )

    def words(self) -> str:
        """For the audit trail: that something was searched for, not what."""
        kinds = [kind for kind in KINDS if kind in self.kind]
        more = [word for word, said in (("unanswered", self.unanswered), ("searched", self.search)) if said]
        return " ".join([*kinds, *more, f"page {self.page}"])


@router.get("/", response_class=HTMLResponse)
def page(
    request: Request, own: Annotated[Parts, Depends(parts)], who: Annotated[Principal, Depends(viewer)]
) -> Response:
    """The whole page; its rows are those of no filter."""
    told = _read(own, Filters(), own.alive())
    audited(request, who, AuditEvent.LIST_VIEWED, rows=len(told["studies"]), asked=Filters().words())
    return own.page(request, "worklist.html", told | {"kinds": KINDS})


@router.post("/rows", response_class=HTMLResponse)
def rows(
    request: Request,
    filters: Annotated[Filters, Form()],
    own: Annotated[Parts, Depends(parts)],
    who: Annotated[Principal, Depends(viewer)],
) -> Response:
    """The rows alone, asked for again whenever the list or the form has changed."""
    changes: Changes = request.app.state.changes

    alive = own.alive()

    def make() -> tuple[str, int]:
        told = _read(own, filters, alive)
        return own.templates.get_template("rows.html").render(told, fragment=True), len(told["studies"])

    key = (filters.model_dump_json(), changes.version, alive)
    page, count = own.shared.get(key, make)
    audited(request, who, AuditEvent.LIST_REFRESHED, rows=count, asked=filters.words())
    return HTMLResponse(page)


def _read(own: Parts, filters: Filters, alive: Alive) -> Json:
    """The list's document for one page, with what the page adds."""
    settings = own.settings
    order = reading_order(settings.worklist, datetime.now(UTC))
    wanted = filters.wanted(order.now - timedelta(hours=settings.worklist.hours))
    size = settings.worklist.page_size
    with own.database.read() as session:
        counts = query.counts(session, wanted)
        matching = sum(n for state, n in counts.items() if not wanted.states or state in wanted.states)
        pages = max(1, -(-matching // size))
        page = min(filters.page, pages)  # the list may have become shorter
        found = query.page(session, wanted, order, limit=size, offset=(page - 1) * size)
        told = document.worklist(found, counts, order, alive)
    by_kind = {kind: sum(counts.get(state, 0) for state in states) for kind, states in KINDS.items()}
    return told | {
        "by_kind": by_kind,
        "page": page,
        "pages": pages,
        "matching": matching,
        "hours": f"{settings.worklist.hours:g}",
    }
