"""Pages about oneself: log in, log out, another password, and the first admin's link."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from ..domain.audit import AuditEvent
from ..domain.roles import Role
from ..errors import AccountError, LoginLimitedError
from ..store import accounts, first_admin, passwords, sessions
from ..store.account_tables import Account
from . import cookies
from .access import Principal, address, audited, audited_change, check_origin, known, viewer
from .links import local_path
from .login import login_of
from .parts import parts
from .refusals import Refused

log = structlog.get_logger(__name__)
router = APIRouter(include_in_schema=False)

Field = Annotated[str, Form()]
Viewer = Annotated[Principal, Depends(viewer)]


@router.get("/login")
def login_page(request: Request, next: str = "/") -> Response:
    """The form; who is logged in already goes on."""
    if known(request) is not None:
        return RedirectResponse(local_path(next), status_code=303)
    return show_login(request, then=next)


@router.post("/login")
async def log_in(request: Request, name: Field = "", password: Field = "", next: Field = "/") -> Response:
    """Begin a session, or say that name and password do not fit."""
    check_origin(request)
    _require_passwords(request)
    turns = login_of(request).turns
    return await to_thread.run_sync(_log_in, request, name, password, next, limiter=turns)


def _log_in(request: Request, name: str, password: str, then: str) -> Response:
    try:
        account, right = login_of(request).check(name, password, address(request))
    except LoginLimitedError as error:
        log.warning("login_limited", address=address(request), retry_after_s=error.retry_after_s)
        audited(request, None, AuditEvent.LOGIN_LIMITED)
        return limited(show_login(request, then=then, error=str(error), status=429), error)
    if account is None or not right:
        # an unknown name is not kept: people type passwords there
        who = Principal(name=account.name, role=Role(account.role)) if account else None
        audited(request, who, AuditEvent.LOGIN_FAILED)
        words = "Name and password do not fit, or the account is closed. Try again, or ask an admin."
        return show_login(request, then=then, error=words, status=401)
    return begin_session(request, account, then=then)


def begin_session(request: Request, account: Account, *, then: str) -> Response:
    """A new session under a new cookie, whatever cookie the browser had before; leads on to `then`."""
    of = parts(request)
    who = Principal(name=account.name, role=Role(account.role))
    with of.database.write() as session:
        sessions.end(session, cookies.get(request, of.settings.web, "session"))
        account = session.get_one(Account, account.id)
        cookie = sessions.begin(session, account, policy=of.settings.access, now=datetime.now(UTC))
        audited_change(session, request, who, AuditEvent.LOGIN_SUCCEEDED, about=None)
    response = RedirectResponse(local_path(then), status_code=303)
    cookies.put(response, of.settings.web, "session", cookie)
    return response


@router.post("/logout")
def log_out(request: Request, principal: Viewer) -> Response:
    """End the session."""
    of = parts(request)
    with of.database.write() as session:
        sessions.end(session, cookies.get(request, of.settings.web, "session"))
    audited(request, principal, AuditEvent.LOGGED_OUT)
    response = RedirectResponse("/login", status_code=303)
    cookies.drop(response, of.settings.web, "session")
    return response


@router.get("/account")
def account_page(request: Request, principal: Viewer) -> Response:
    """Who one is here, and the form for another password."""
    return _account_page(request, principal)


@router.post("/account/password")
async def change_password(
    request: Request, principal: Viewer, current: Field = "", password: Field = "", repeat: Field = ""
) -> Response:
    """Another password, for who knows the present one; every other browser is logged out."""
    given = (current, password, repeat)
    turns = login_of(request).turns
    return await to_thread.run_sync(_change_password, request, principal, given, limiter=turns)


def _change_password(request: Request, principal: Principal, given: tuple[str, str, str]) -> Response:
    current, password, repeat = given
    try:
        account, right = login_of(request).check(principal.name, current, address(request))
        if account is None or not right:
            audited(request, principal, AuditEvent.LOGIN_FAILED)
            raise AccountError("the present password is not right: type it again")
        same(password, repeat)
        made = passwords.make_hash(password, account.name)
        with parts(request).database.write() as session:
            account = session.get_one(Account, account.id)
            accounts.set_password_hash(session, account, made)
            audited_change(session, request, principal, AuditEvent.PASSWORD_CHANGED, about=account.name)
    except LoginLimitedError as error:
        audited(request, None, AuditEvent.LOGIN_LIMITED)
        return limited(_account_page(request, principal, error=str(error), status=429), error)
    except AccountError as error:
        return _account_page(request, principal, error=str(error), status=400)
    return begin_session(request, account, then="/account")


@router.get("/first-admin")
def first_admin_page(request: Request, secret: str = "") -> Response:
    """The form behind the link that the start of the service has printed."""
    _require_passwords(request)
    try:
        with parts(request).database.read() as session:
            first_admin.require(session, secret, datetime.now(UTC))
    except AccountError as error:
        raise Refused(403, str(error)) from error
    return _first_admin_page(request, secret)


@router.post("/first-admin")
async def make_first_admin(
    request: Request, secret: Field = "", name: Field = "", password: Field = "", repeat: Field = ""
) -> Response:
    """The first admin, logged in at once."""
    check_origin(request)
    _require_passwords(request)
    given = (secret, name, password, repeat)
    return await to_thread.run_sync(_make_first_admin, request, given, limiter=login_of(request).turns)


def _make_first_admin(request: Request, given: tuple[str, str, str, str]) -> Response:
    secret, name, password, repeat = given
    now = datetime.now(UTC)
    database = parts(request).database
    try:
        with database.read() as session:
            first_admin.require(session, secret, now)
    except AccountError as error:
        raise Refused(403, str(error)) from error
    try:
        same(password, repeat)
        account = Account(name=name, password_hash=passwords.make_hash(password, accounts.checked_name(name)))
        with database.write() as session:
            first_admin.use(session, secret, account, now=now)
            audited_change(session, request, None, AuditEvent.ACCOUNT_ADDED, about=account.name)
    except AccountError as error:
        return _first_admin_page(request, secret, name=name, error=str(error), status=400)
    return begin_session(request, account, then="/")


def _require_passwords(request: Request) -> None:
    settings = parts(request).settings
    if not settings.access.passwords:
        raise Refused(403, f"nobody logs in with a password here: log in through {settings.oidc.issuer}")


def same(password: str, repeat: str) -> None:
    """Raise AccountError unless a new password was typed twice alike."""
    if password != repeat:
        raise AccountError("the two new passwords differ: type both again")


def show_login(request: Request, *, then: str, error: str = "", status: int = 200) -> Response:
    """The log-in page, with what went wrong."""
    settings = parts(request).settings
    told = {
        "next": local_path(then),
        "error": error,
        "provider": settings.oidc.issuer,
        "passwords": settings.access.passwords,
    }
    return parts(request).templates.TemplateResponse(request, "login.html", told, status_code=status)


def _account_page(request: Request, principal: Principal, *, error: str = "", status: int = 200) -> Response:
    if principal.csrf_token is None:
        raise Refused(403, "a service token has no account page: log in as a person")
    with parts(request).database.read() as session:
        account = accounts.find(session, principal.name)
    told = {"account": account, "error": error}
    return parts(request).templates.TemplateResponse(request, "account.html", told, status_code=status)


def _first_admin_page(
    request: Request, secret: str, *, name: str = "", error: str = "", status: int = 200
) -> Response:
    told = {"secret": secret, "name": name, "error": error}
    return parts(request).templates.TemplateResponse(request, "first_admin.html", told, status_code=status)


def limited(response: Response, error: LoginLimitedError) -> Response:
    """The answer, with when to try again."""
    response.headers["Retry-After"] = str(error.retry_after_s)
    return response
