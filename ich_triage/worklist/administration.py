"""Pages for admins: accounts of people, and tokens of programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from ..domain.audit import AuditEvent
from ..domain.roles import PEOPLE
from ..errors import AccountError
from ..store import accounts, passwords, sessions, tokens
from ..store.account_tables import Account
from .access import Principal, admin, audited_change
from .login import login_of
from .parts import parts
from .refusals import Refused

router = APIRouter(prefix="/users", include_in_schema=False)

Field = Annotated[str, Form()]
Admin = Annotated[Principal, Depends(admin)]


@router.get("")
def users_page(request: Request, principal: Admin) -> Response:
    """Everybody, every token, and the forms to make one."""
    return _users_page(request)


@router.post("")
async def add(
    request: Request, principal: Admin, name: Field = "", role: Field = "", password: Field = ""
) -> Response:
    """An account with a first password, which the person changes."""
    given = (name, role, password)
    return await to_thread.run_sync(_add, request, principal, given, limiter=login_of(request).turns)


def _add(request: Request, principal: Principal, given: tuple[str, str, str]) -> Response:
    name, role, password = given
    try:
        made = passwords.make_hash(password, accounts.checked_name(name))
        account = Account(name=name, role=role, password_hash=made)
        with parts(request).database.write() as session:
            accounts.add(session, account, now=datetime.now(UTC))
            audited_change(session, request, principal, AuditEvent.ACCOUNT_ADDED, about=account.name)
    except AccountError as error:
        return _users_page(request, error=str(error), status=400)
    return _to(f"/users/{account.id}")


@router.post("/tokens")
def make_token(request: Request, principal: Admin, name: Field = "", days: Field = "") -> Response:
    """A service token, shown on the page that answers and never again."""
    try:
        valid = tokens.checked_days(days)
        with parts(request).database.write() as session:
            token = tokens.make(session, name, days=valid, now=datetime.now(UTC))
            about = accounts.checked_name(name)
            audited_change(session, request, principal, AuditEvent.TOKEN_MADE, about=about)
    except AccountError as error:
        return _users_page(request, error=str(error), status=400)
    return _users_page(request, token=token, status=201)


@router.post("/tokens/revoke")
def revoke_token(request: Request, principal: Admin, name: Field = "") -> Response:
    """The program is refused from now on."""
    try:
        with parts(request).database.write() as session:
            revoked = tokens.revoke(session, name, datetime.now(UTC))
            audited_change(session, request, principal, AuditEvent.TOKEN_REVOKED, about=revoked.name)
    except AccountError as error:
        return _users_page(request, error=str(error), status=400)
    return _to("/users")


@router.get("/{number}")
def user_page(request: Request, principal: Admin, number: int) -> Response:
    """One account, and what can be changed about it."""
    return _user_page(request, number)


@router.post("/{number}/role")
def change_role(request: Request, principal: Admin, number: int, role: Field = "") -> Response:
    """Another role; the person logs in again."""
    return _change(
        request,
        principal,
        (number, AuditEvent.ROLE_CHANGED),
        lambda session, account: accounts.set_role(session, account, role),
    )


@router.post("/{number}/password")
async def change_password(request: Request, principal: Admin, number: int, password: Field = "") -> Response:
    """Another password, for who has forgotten the present one."""
    turns = login_of(request).turns
    return await to_thread.run_sync(_change_password, request, principal, number, password, limiter=turns)


def _change_password(request: Request, principal: Principal, number: int, password: str) -> Response:
    try:
        made = passwords.make_hash(password, _get(request, number).name)
    except AccountError as error:
        return _user_page(request, number, error=str(error), status=400)
    return _change(
        request,
        principal,
        (number, AuditEvent.PASSWORD_CHANGED),
        lambda session, account: accounts.set_password_hash(session, account, made),
    )


@router.post("/{number}/disable")
def disable(request: Request, principal: Admin, number: int) -> Response:
    """Nobody logs in with it, and who is logged in is out."""
    return _change(
        request,
        principal,
        (number, AuditEvent.ACCOUNT_DISABLED),
        lambda session, account: accounts.set_disabled(session, account, disabled=True),
    )


@router.post("/{number}/enable")
def enable(request: Request, principal: Admin, number: int) -> Response:
    """The account is open again, with the password that it had."""
    return _change(
        request,
        principal,
        (number, AuditEvent.ACCOUNT_ENABLED),
        lambda session, account: accounts.set_disabled(session, account, disabled=False),
    )


@router.post("/{number}/logout")
def end_sessions(request: Request, principal: Admin, number: int) -> Response:
    """Every browser of the person is logged out."""
    return _change(request, principal, (number, AuditEvent.SESSIONS_ENDED), sessions.end_all)


def _change(
    request: Request,
    principal: Principal,
    what: tuple[int, AuditEvent],
    change: Callable[[Session, Account], object],
) -> Response:
    number, event = what
    _get(request, number)
    try:
        with parts(request).database.write() as session:
            account = session.get_one(Account, number)
            change(session, account)
            audited_change(session, request, principal, event, about=account.name)
    except AccountError as error:
        return _user_page(request, number, error=str(error), status=400)
    return _to(f"/users/{number}")


def _get(request: Request, number: int) -> Account:
    """The account of that number. Raises Refused."""
    with parts(request).database.read() as session:
        account = session.get(Account, number) if number < 2**31 else None
    if account is None:
        raise Refused(404, "there is no such account: go back to the list of users")
    return account


def _users_page(request: Request, *, error: str = "", token: str = "", status: int = 200) -> Response:
    with parts(request).database.read() as session:
        told: dict[str, Any] = {
            "accounts": accounts.everybody(session),
            "tokens": tokens.everything(session),
            "roles": PEOPLE,
            "now": datetime.now(UTC),
        }
    told |= {"error": error, "token": token}
    return parts(request).templates.TemplateResponse(request, "users.html", told, status_code=status)


def _user_page(request: Request, number: int, *, error: str = "", status: int = 200) -> Response:
    told = {"account": _get(request, number), "roles": PEOPLE, "error": error}
    return parts(request).templates.TemplateResponse(request, "user.html", told, status_code=status)


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303)
