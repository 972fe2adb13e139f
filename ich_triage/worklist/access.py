"""Who may: what every route asks before it shows or changes anything, and what is kept of it.

Routes take `viewer`, `reader` or `admin` as a dependency, and call `audited` for what a person gets to see.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from ..domain.audit import AuditEvent, AuditRecord
from ..domain.roles import Role
from ..store import audit as audit_store
from ..store import sessions, tokens
from ..telemetry import audit as audit_log
from . import cookies
from .parts import parts
from .refusals import LogInFirst, Refused

log = structlog.get_logger(__name__)

#: what a session's page sends back with every change: this header, or this field of a form
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM = "application/x-www-form-urlencoded"
_READERS = frozenset({Role.RADIOLOGIST})
_VIEWERS = frozenset({Role.RADIOLOGIST, Role.ADMIN, Role.SERVICE})


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who asks."""

    #: name of the account or of the service token; what feedback is attributed to
    name: str
    #: what for
    role: Role
    #: what the session's pages send back with every change; None for a service token
    csrf_token: str | None = field(default=None, repr=False)


def csrf_token(cookie: str) -> str:
    """The token of a session's pages: follows from its cookie, which other sites cannot read."""
    return hmac.new(cookie.encode("utf-8", "replace"), b"csrf", hashlib.sha256).hexdigest()


def known(request: Request) -> Principal | None:
    """Who asks, as the database knows it now; None where nobody is logged in, or no longer.

    An event stream calls it again from time to time, so that it ends with its session. Reads the database.
    """
    shown = request.headers.get("authorization", "")
    if shown:
        scheme, _, token = shown.partition(" ")
        return _program(request, token.strip()) if scheme.lower() == "bearer" else None
    return _person(request)


async def _sent_token(request: Request) -> str:
    """The token that came with a change; forms of a page carry it as a field."""
    if request.method in _SAFE or CSRF_HEADER in request.headers:
        return request.headers.get(CSRF_HEADER, "")
    if request.headers.get("content-type", "").startswith(_FORM):
        sent = (await request.form()).get(CSRF_FIELD, "")
        return sent if isinstance(sent, str) else ""
    return ""


SentToken = Annotated[str, Depends(_sent_token)]


def viewer(request: Request, sent: SentToken) -> Principal:
    """Dependency: who may see patients. Raises LogInFirst, Refused."""
    return _allowed(request, sent, _VIEWERS, "")


def reader(request: Request, sent: SentToken) -> Principal:
    """Dependency: who may give feedback. Raises LogInFirst, Refused.

    Radiologists alone, since their answers measure the model and train the next one.
    """
    words = "feedback is a radiologist's judgement: log in with an account of that role"
    return _allowed(request, sent, _READERS, words)


def may_answer(principal: Principal) -> bool:
    """Whether `reader` lets this one in."""
    return principal.role in _READERS


def admin(request: Request, sent: SentToken) -> Principal:
    """Dependency: who may look after accounts. Raises LogInFirst, Refused."""
    words = "this is for admins: log in with an account of that role, or ask one"
    return _allowed(request, sent, frozenset({Role.ADMIN}), words)


def audited(
    request: Request,
    principal: Principal | None,
    event: AuditEvent,
    *,
    study_instance_uid: str | None = None,
    rows: int | None = None,
    asked: str | None = None,
) -> None:
    """Keep one record, in the database and in the log. Writes the database: call it from a thread.

    `rows` counts the studies of a list, `asked` tells which part of it. Pictures of one study, and renewals
    of an open list, are one record a minute for each session; strangers' tokens, and log-ins beyond the
    limit, one for each address: they must not fill the database.
    """
    record = _record(request, principal, event, study_instance_uid=study_instance_uid, rows=rows, asked=asked)
    bundle, log_in = parts(request).bundle, (principal and principal.csrf_token) or record.address
    if not bundle.is_news(record, log_in):
        return
    with parts(request).database.write() as session:
        audit_store.append(session, record)
    bundle.kept(record, log_in)
    audit_log.tell(record)


def audited_change(
    session: Session, request: Request, principal: Principal | None, event: AuditEvent, *, about: str | None
) -> None:
    """Keep one record with the change that it tells: both are there, or neither.

    `about` is the account or token that is changed.
    """
    record = _record(request, principal, event, about=about)
    audit_store.append(session, record)
    audit_log.tell(record)


def _record(request: Request, principal: Principal | None, event: AuditEvent, **what: Any) -> AuditRecord:
    return AuditRecord(
        at=datetime.now(UTC),
        event=event,
        actor=principal.name if principal else "",
        role=principal.role if principal else "",
        address=address(request),
        **what,
    )


def address(request: Request) -> str:
    """Where the request comes from; behind a trusted proxy, what it says."""
    return request.client.host[:64] if request.client else ""


def check_origin(request: Request) -> None:
    """Raise Refused where the browser says that another site's page asks (RFC 6454, Fetch Metadata)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or origin.casefold() == own_url(request).casefold()
    if not ours:
        log.warning("foreign_origin_refused", address=address(request), path=request.url.path)
        raise Refused(
            403,
            "the request came from a page of another site: open our page and do it there (where it was our "
            "page, an admin sets [web] public_url to the address in the browser)",
        )


def own_url(request: Request) -> str:
    """The address under which the browser reaches us, without a slash at its end."""
    return parts(request).settings.web.public_url or str(request.base_url).rstrip("/")


def _allowed(request: Request, sent: str, roles: frozenset[Role], words: str) -> Principal:
    principal = known(request)
    if principal is None:
        raise LogInFirst("nobody is logged in, or the session or token is no longer valid: log in")
    request.state.principal = principal
    if principal.role not in roles:
        audited(request, principal, AuditEvent.ACCESS_REFUSED)
        raise Refused(403, words)
    if request.method not in _SAFE and principal.csrf_token is not None:
        check_origin(request)
        if not hmac.compare_digest(sent.encode(), principal.csrf_token.encode()):
            audited(request, principal, AuditEvent.ACCESS_REFUSED)
            raise Refused(403, "the page is of an earlier log-in: load it again, then repeat what you did")
    return principal


def _person(request: Request) -> Principal | None:
    of, now = parts(request), datetime.now(UTC)
    cookie = cookies.get(request, of.settings.web, "session")
    if not cookie:
        return None
    with of.database.read() as session:
        found = sessions.find(session, cookie, policy=of.settings.access, now=now)
    if found is None:
        return None
    if sessions.is_due(found, now):
        with of.database.write() as session:
            sessions.touch(session, found, now)
    return Principal(name=found.account.name, role=Role(found.account.role), csrf_token=csrf_token(cookie))


def _program(request: Request, token: str) -> Principal | None:
    of, now = parts(request), datetime.now(UTC)
    with of.database.read() as session:
        found = tokens.find(session, token, now)
    if found is None:
        log.warning("token_refused", address=address(request), path=request.url.path)
        audited(request, None, AuditEvent.TOKEN_REFUSED)
        return None
    if tokens.is_due(found, now):
        with of.database.write() as session:
            tokens.touch(session, found, now)
    return Principal(name=found.name, role=Role.SERVICE)
