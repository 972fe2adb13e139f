"""How a request is refused: words for people, application/problem+json (RFC 9457) for programs."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from ..errors import (
    DicomReadError,
    FeedbackError,
    IchTriageError,
    ImagesRemovedError,
    SpoolAwayError,
    UnknownStudyError,
)
from .links import login_url, path_of
from .parts import parts

log = structlog.get_logger(__name__)

PROBLEM = "application/problem+json"
#: how errors of the service are answered; any other is ours alone
_STATUS: dict[type[IchTriageError], int] = {
    UnknownStudyError: 404,
    FeedbackError: 409,
    ImagesRemovedError: 410,
    DicomReadError: 422,
    SpoolAwayError: 503,
}


class Refused(HTTPException):
    """A request that is answered with a status and a sentence that says what to do."""


class LogInFirst(Refused):
    """Nobody is logged in, or no longer: a page leads to the log-in, a program is told."""

    def __init__(self, why: str) -> None:
        super().__init__(401, why, headers={"WWW-Authenticate": "Bearer"})


def wants_problem(request: Request) -> bool:
    """Whether a program asks: below /api/, for JSON, or for the event stream."""
    accepted = request.headers.get("accept", "")
    return request.url.path.startswith("/api/") or any(
        kind in accepted for kind in ("application/json", PROBLEM, "text/event-stream")
    )


def install(app: FastAPI) -> None:
    """Answer every error that a person or a program can meet."""
    app.add_exception_handler(Refused, answer)
    app.add_exception_handler(IchTriageError, _ours)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(TimeoutError, _database_away)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _ours(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return await answer(request, Refused(status, str(error)))


async def _database_away(request: Request, error: Exception) -> Response:
    """Scanners are served meanwhile; whoever looks is told to come again."""
    log.error("database_away", error=type(error).__name__)
    why = "The database does not answer; what was received is safe. Try again in a moment."
    return await answer(request, Refused(503, why, headers={"Retry-After": "5"}))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return await answer(request, Refused(error.status_code, str(error.detail), dict(error.headers or {})))


async def _invalid(request: Request, error: Exception) -> Response:
    """Says which field is wrong and why; never what was in it."""
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(
        f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}" for each in error.errors()
    )
    return await answer(request, Refused(422, wrong))


async def answer(request: Request, refused: Exception) -> Response:
    """The answer to a refused request."""
    assert isinstance(refused, Refused)
    if wants_problem(request):
        return problem(refused)
    if isinstance(refused, LogInFirst):
        return _to_login(request)
    return parts(request).templates.TemplateResponse(
        request,
        "refused.html",
        {"title": _title(refused), "why": refused.detail},
        status_code=refused.status_code,
        headers=dict(refused.headers or {}),
    )


def problem(refused: HTTPException) -> Response:
    """The refusal as RFC 9457 wants it."""
    told = {"type": "about:blank", "title": _title(refused), "status": refused.status_code}
    return JSONResponse(
        told | {"detail": refused.detail},
        status_code=refused.status_code,
        headers=dict(refused.headers or {}),
        media_type=PROBLEM,
    )


def _to_login(request: Request) -> Response:
    """A page goes to the log-in and comes back; htmx is told to take the whole page there."""
    if request.headers.get("hx-request"):
        page = path_of(request.headers.get("hx-current-url", ""))
        return Response(status_code=401, headers={"HX-Redirect": login_url(page)})
    wanted = request.url.path if request.method == "GET" else "/"
    if request.method == "GET" and request.url.query:
        wanted += f"?{request.url.query}"
    return RedirectResponse(login_url(wanted), status_code=303)


def _title(refused: HTTPException) -> str:
    return HTTPStatus(refused.status_code).phrase
