"""The way through an OpenID provider: out with a cookie, back once, and a session for an account of ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from ..domain.audit import AuditEvent
from ..domain.roles import Role
from ..errors import AccountError, LoginError, LoginLimitedError
from ..store import accounts, pending_logins
from ..store.account_tables import Account
from . import cookies
from .access import Principal, address, audited, audited_change, own_url
from .accounts import begin_session, limited, show_login
from .links import local_path
from .login import login_of
from .oidc import Person, Provider
from .parts import parts

router = APIRouter(prefix="/login/provider", include_in_schema=False)


def provider_of(request: Request) -> Provider:
    """The provider of this application."""
    found: Provider = request.app.state.provider
    return found


@router.get("")
async def leave(request: Request, next: str = "/") -> Response:
    """Send the browser to the provider."""
    try:
        login_of(request).begin_elsewhere(address(request))
        request.scope["session"] = {}
        there = await provider_of(request).address(request, f"{own_url(request)}/login/provider/back")
    except LoginLimitedError as error:
        await to_thread.run_sync(audited, request, None, AuditEvent.LOGIN_LIMITED)
        return limited(show_login(request, then=next, error=str(error), status=429), error)
    except LoginError as error:
        return show_login(request, then=next, error=str(error), status=502)
    kept: dict[str, Any] = {"session": request.session, "next": local_path(next)}
    cookie = await to_thread.run_sync(_keep, request, kept)
    response = RedirectResponse(there, status_code=303)
    cookies.put(response, parts(request).settings.web, "login", cookie)
    return response


@router.get("/back")
async def come_back(request: Request) -> Response:
    """Begin a session for the person for whom the provider vouches."""
    try:
        kept = await to_thread.run_sync(_take, request)
        if kept is None:
            raise LoginError(
                "this log-in was used already, lasted longer than ten minutes, or began in another browser: "
                "begin again"
            )
        request.scope["session"] = kept["session"]
        person = await provider_of(request).person(request)
        account = await to_thread.run_sync(_account, request, person)
    except (LoginError, AccountError) as error:
        few = login_of(request).failed_elsewhere(address(request))
        event = AuditEvent.LOGIN_FAILED if few else AuditEvent.LOGIN_LIMITED
        await to_thread.run_sync(audited, request, None, event)
        return show_login(request, then="/", error=str(error), status=403)
    response = await to_thread.run_sync(_begin, request, account, kept["next"])
    cookies.drop(response, parts(request).settings.web, "login")
    return response


def _keep(request: Request, kept: dict[str, Any]) -> str:
    with parts(request).database.write() as session:
        return pending_logins.begin(session, kept, now=datetime.now(UTC))


def _take(request: Request) -> dict[str, Any] | None:
    cookie = cookies.get(request, parts(request).settings.web, "login")
    with parts(request).database.write() as session:
        return pending_logins.take(session, cookie, now=datetime.now(UTC))


def _account(request: Request, person: Person) -> Account:
    """The person's account: made at the first log-in, its role renewed at each.

    An account with a password never becomes that of somebody who has the same name elsewhere. Raises
    AccountError, LoginError.
    """
    with parts(request).database.write() as session:
        account = accounts.find_subject(session, person.issuer, person.subject)
        who = Principal(name=account.name if account else person.name, role=person.role)
        if account is None:
            account = Account(
                name=person.name, role=person.role, issuer=person.issuer, subject=person.subject
            )
            accounts.add(session, account, now=datetime.now(UTC))
            audited_change(session, request, who, AuditEvent.ACCOUNT_ADDED, about=account.name)
        elif account.disabled:
            raise LoginError(f"the account {account.name} is closed: ask an admin to open it")
        elif Role(account.role) != person.role:
            accounts.follow_role(session, account, person.role)
            audited_change(session, request, who, AuditEvent.ROLE_CHANGED, about=account.name)
        return account


def _begin(request: Request, account: Account, then: str) -> Response:
    return begin_session(request, account, then=then)
