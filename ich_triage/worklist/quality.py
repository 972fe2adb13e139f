"""How the model does here, as a page and by the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from ..store import quality
from . import schema
from .access import viewer
from .api import REFUSALS, Own
from .document import Json
from .parts import Parts

router = APIRouter()
Weeks = Annotated[int, Query(ge=1, le=520, description="How far back")]


@router.get("/quality", response_class=HTMLResponse, include_in_schema=False, dependencies=[Depends(viewer)])
def page(request: Request, own: Own, weeks: Weeks = 26) -> Response:
    """Agreement, positive predictive value and flag rate over time, by package."""
    return own.page(request, "quality.html", _read(own, weeks))


@router.get(
    "/api/v1/quality",
    response_model=schema.Quality,
    dependencies=[Depends(viewer)],
    tags=["quality"],
    responses=REFUSALS,
)
def api(own: Own, weeks: Weeks = 26) -> Json:
    """Agreement, positive predictive value and flag rate over time, by package; names no patient."""
    return _read(own, weeks)


def _read(own: Parts, weeks: int) -> Json:
    since = datetime.now(UTC) - timedelta(weeks=weeks)
    with own.database.read() as session:
        found = quality.by_package(session, since=since)
    return {"weeks": weeks, "packages": [_package(each) for each in found]}


def _package(each: quality.PackageQuality) -> Json:
    return {
        "name": each.name,
        "weights_sha256": each.weights_sha256,
        "total": _tally(each.total),
        "by_week": [{"monday": day.isoformat(), **_tally(each.weeks[day])} for day in sorted(each.weeks)],
    }


def _tally(tally: quality.Tally) -> Json:
    return {
        "analysed": tally.analysed,
        "answered": tally.answered,
        "flag_rate": _share(tally.flag_rate),
        "agreement": _share(tally.agreement),
        "positive_predictive_value": _share(tally.positive_predictive_value),
    }


def _share(share: quality.Share) -> Json:
    low, high = share.interval or (None, None)
    return {"count": share.count, "of": share.of, "value": share.value, "low": low, "high": high}
