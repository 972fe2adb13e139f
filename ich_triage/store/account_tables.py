"""Tables of accounts, sessions, service tokens and the audit trail. Of every secret only a hash is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .tables import Base, Key, Uid


class Account(Base):
    """One person."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    #: as shown, and what feedback is attributed to
    name: Mapped[str] = mapped_column(String(64))
    #: the name without regard to case, by which it is looked up
    name_key: Mapped[str] = mapped_column(String(128), unique=True)
    #: Role
    role: Mapped[str] = mapped_column(String(16))
    #: argon2id; None where an OpenID provider vouches for the person
    password_hash: Mapped[str | None]
    #: the OpenID provider that vouches
    issuer: Mapped[str | None]
    #: the person's identifier there, which never changes
    subject: Mapped[str | None]
    #: closed: nobody logs in with it
    disabled: Mapped[bool] = mapped_column(default=False)
    #: when it was made
    created_at: Mapped[datetime]
    #: latest log-in
    last_login_at: Mapped[datetime | None]


class WebSession(Base):
    """One log-in of one browser."""

    __tablename__ = "web_sessions"

    #: SHA-256 of the cookie, hex
    cookie_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    #: log-in
    begun_at: Mapped[datetime]
    #: latest request, to the minute
    seen_at: Mapped[datetime]

    account: Mapped[Account] = relationship()


class ServiceToken(Base):
    """What a program shows in place of a log-in."""

    __tablename__ = "service_tokens"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    #: what the audit trail calls the program
    name: Mapped[str] = mapped_column(String(64), unique=True)
    #: SHA-256 of the token, hex
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    #: when it was made
    created_at: Mapped[datetime]
    #: not after
    expires_at: Mapped[datetime]
    #: taken back
    revoked_at: Mapped[datetime | None]
    #: latest use, to the minute
    last_used_at: Mapped[datetime | None]


class AdminLink(Base):
    """The link behind which the first admin chooses name and password. The latest one alone is there."""

    __tablename__ = "admin_links"

    #: SHA-256 of the secret in the link, hex
    secret_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: not after
    expires_at: Mapped[datetime]


class PendingLogin(Base):
    """A log-in on its way to an OpenID provider and back; gone once it is back."""

    __tablename__ = "pending_logins"

    #: SHA-256 of the cookie that ties it to one browser, hex
    cookie_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: not after
    expires_at: Mapped[datetime]
    #: state, nonce and code verifier, and where to go afterwards
    data: Mapped[dict[str, Any]]


class Audit(Base):
    """One line of the audit trail (domain.audit.AuditRecord). Never changed."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_at", "at"),
        Index("ix_audit_study_instance_uid", "study_instance_uid"),
        Index("ix_audit_actor", "actor", "event", "at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    #: when
    at: Mapped[datetime]
    #: AuditEvent
    event: Mapped[str] = mapped_column(String(32))
    #: name of the account or token; empty where nobody is known
    actor: Mapped[str] = mapped_column(String(64))
    #: Role
    role: Mapped[str] = mapped_column(String(16))
    #: address that the request came from
    address: Mapped[str] = mapped_column(String(64))
    #: the study that was looked at
    study_instance_uid: Mapped[str | None] = mapped_column(Uid)
    #: studies on a list
    rows: Mapped[int | None]
    #: which part of the list
    asked: Mapped[str | None] = mapped_column(String(128))
    #: the account or token that was changed
    about: Mapped[str | None] = mapped_column(String(64))
