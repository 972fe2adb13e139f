"""Accounts of people: make, look up, change. What takes rights away ends the account's sessions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.roles import PEOPLE, Role
from ..errors import AccountError
from . import sessions
from .account_tables import Account

#: characters of a name at most; feedback keeps it
MAX_NAME = 64
#: what a name has beside letters and digits
_MARKS = frozenset(" .,'@+_-")
_ADMINS = select(Account.id).where(Account.role == Role.ADMIN, Account.disabled.is_(False))


def checked_name(name: str) -> str:
    """The name as it is kept. Raises AccountError for one that cannot be."""
    plain = unicodedata.normalize("NFKC", name).strip()
    if not 1 <= len(plain) <= MAX_NAME or not all(each.isalnum() or each in _MARKS for each in plain):
        raise AccountError(
            f"the name cannot be kept: give 1 to {MAX_NAME} letters, digits, spaces and . , ' @ + _ -"
        )
    return plain


def key_of(name: str) -> str:
    """By what a name is looked up: without regard to case."""
    return unicodedata.normalize("NFKC", name).strip().casefold()[: 2 * MAX_NAME]


def find(session: Session, name: str) -> Account | None:
    """The account of that name, in whatever case. No account has a name that cannot be kept."""
    if not name.isprintable():
        return None
    return session.scalar(select(Account).where(Account.name_key == key_of(name)))


def find_subject(session: Session, issuer: str, subject: str) -> Account | None:
    """The account of the person whom an OpenID provider calls `subject`."""
    return session.scalar(select(Account).where(Account.issuer == issuer, Account.subject == subject))


def get(session: Session, name: str) -> Account:
    """The account of that name. Raises AccountError."""
    account = find(session, name)
    if account is None:
        raise AccountError(
            f"there is no account {checked_name(name)}: `ich-triage users list` shows those there are"
        )
    return account


def everybody(session: Session) -> Sequence[Account]:
    """All accounts, by name."""
    return session.scalars(select(Account).order_by(Account.name_key)).all()


def has_admin(session: Session) -> bool:
    """Whether anybody can look after the accounts."""
    return session.scalar(_ADMINS.limit(1)) is not None


def add(session: Session, account: Account, *, now: datetime) -> Account:
    """Keep a new account, given its name, its role and what vouches for it. Raises AccountError."""
    account.name = checked_name(account.name)
    account.name_key = key_of(account.name)
    account.role = _personal(account.role)
    account.disabled = False
    account.created_at = now
    taken = AccountError(f"there is an account {account.name} already: take another name")
    if find(session, account.name) is not None:
        raise taken
    session.add(account)
    try:
        session.flush()
    except IntegrityError as error:
        raise taken from error
    return account


def set_role(session: Session, account: Account, role: str) -> None:
    """Give another role. Raises AccountError where no admin would be left."""
    wanted = _personal(role)
    if wanted == account.role:
        return
    _keep_an_admin(session, account)
    follow_role(session, account, wanted)


def follow_role(session: Session, account: Account, role: str) -> None:
    """Take over the role that an OpenID provider gives, even from the last admin."""
    if account.role != role:
        account.role = _personal(role)
        sessions.end_all(session, account)


def set_password_hash(session: Session, account: Account, password_hash: str) -> None:
    """Give another password. Raises AccountError where an OpenID provider vouches for the person."""
    if account.issuer is not None:
        raise AccountError(
            f"{account.name} logs in through {account.issuer} and has no password here: change it there"
        )
    account.password_hash = password_hash
    sessions.end_all(session, account)


def set_disabled(session: Session, account: Account, *, disabled: bool) -> None:
    """Close an account, or open it again. Raises AccountError where no admin would be left."""
    if disabled and not account.disabled:
        _keep_an_admin(session, account)
        sessions.end_all(session, account)
    account.disabled = disabled


def _personal(role: str) -> str:
    if role not in PEOPLE:
        raise AccountError(f"{role!r} is no role of a person: give {' or '.join(PEOPLE)}")
    return Role(role).value


def _keep_an_admin(session: Session, account: Account) -> None:
    """Of two admins who close each other at the same moment, the second waits and is refused."""
    admins = session.scalars(_ADMINS.order_by(Account.id).with_for_update()).all()
    if admins == [account.id]:
        raise AccountError(f"{account.name} is the last admin: make another one first")
