"""Pages about oneself: log in, log out, another password."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse

from ..domain.audit import AuditEvent, AuditRecord
from ..domain.roles import Role
from ..errors import LoginLimitedError
from ..store import audit as audit_store
from ..store import sessions
from ..store.account_tables import Account
from ..telemetry import audit as audit_log
from . import cookies
from .access import Principal, address, audited, check_origin, known, viewer
from .body import BodyLimit
from .links import local_path
from .login import Login
from .parts import parts
from .refusals import Refused, answer

log = structlog.get_logger(__name__)

#: browsers send nothing longer for a name or a password; what is longer is refused before it is looked at
Field = Annotated[str, Form(max_length=1024)]
router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Add the routes, the limit on requests, and how refusals are answered."""
    app.state.login = Login(app.state.parts.database)
    app.add_middleware(BodyLimit)
    app.add_exception_handler(Refused, answer)
    app.include_router(router)


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """The form; who is logged in already goes on."""
    if known(request) is not None:
        return RedirectResponse(local_path(next), status_code=303)
    return _login_page(request, then=next)


@router.post("/login")
async def log_in(request: Request, name: Field = "", password: Field = "", next: Field = "/") -> Response:
    """Begin a session, or say that name and password do not fit."""
    check_origin(request)
    login: Login = request.app.state.login
    return await to_thread.run_sync(_log_in, request, name, password, next, limiter=login.turns)


def _log_in(request: Request, name: str, password: str, next: str) -> Response:
    login: Login = request.app.state.login
    try:
        account, right = login.check(name, password, address(request))
    except LoginLimitedError as error:
        return _limited(request, error, then=next)
    if account is None or not right:
        _failed(request, account)
        words = "Name and password do not fit, or the account is closed. Try again, or ask an admin."
        return _login_page(request, then=next, error=words, status=401)
    return begin_session(request, account, then=next)


def begin_session(request: Request, account: Account, *, then: str) -> Response:
    """A new session under a new cookie, whatever cookie the browser had before; leads on to `then`."""
    of, now = parts(request), datetime.now(UTC)
    record = AuditRecord(
        at=now,
        event=AuditEvent.LOGIN_SUCCEEDED,
        actor=account.name,
        role=account.role,
        address=address(request),
    )
    with of.database.write() as session:
        sessions.end(session, cookies.get(request, of.settings.web, "session"))
        cookie = sessions.begin(session, session.merge(account), policy=of.settings.access, now=now)
        audit_store.append(session, record)
    audit_log.tell(record)
    response = RedirectResponse(local_path(then), status_code=303)
    cookies.put(response, of.settings.web, "session", cookie)
    return response


@router.post("/logout")
def log_out(request: Request, principal: Annotated[Principal, Depends(viewer)]) -> Response:
    """End the session."""
    of = parts(request)
    with of.database.write() as session:
        sessions.end(session, cookies.get(request, of.settings.web, "session"))
    audited(request, principal, AuditEvent.LOGGED_OUT)
    response = RedirectResponse("/login", status_code=303)
    cookies.drop(response, of.settings.web, "session")
    return response


def _login_page(request: Request, *, then: str, error: str = "", status: int = 200) -> Response:
    told = {"next": local_path(then), "error": error}
    return parts(request).templates.TemplateResponse(request, "login.html", told, status_code=status)


def _limited(request: Request, error: LoginLimitedError, *, then: str) -> Response:
    log.warning("login_limited", address=address(request), retry_after_s=error.retry_after_s)
    response = _login_page(request, then=then, error=str(error), status=429)
    response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _failed(request: Request, account: Account | None) -> None:
    """An unknown name is not kept: people type passwords there."""
    who = Principal(name=account.name, role=Role(account.role)) if account else None
    audited(request, who, AuditEvent.LOGIN_FAILED)
