"""`ich-triage users`: accounts of people, and tokens of programs."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from .. import bootstrap
from ..domain.audit import AuditEvent, AuditRecord
from ..domain.roles import Role
from ..store import accounts, audit, passwords, sessions, tokens
from ..store.account_tables import Account, ServiceToken
from ..telemetry import audit as audit_log
from .options import ConfigOption, JsonOption, console, open_database, print_json, settings

app = typer.Typer(help="Who may see the pages: accounts, tokens.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name of the account.")]
RoleArgument = Annotated[str, typer.Argument(help="radiologist or admin.")]
TokenArgument = Annotated[str, typer.Argument(help="Name of the program.")]


@app.command()
def add(
    context: typer.Context,
    name: NameArgument,
    role: Annotated[str, typer.Option(help="radiologist or admin.")] = Role.RADIOLOGIST.value,
    config: ConfigOption = None,
) -> None:
    """Make an account; asks for its password, or reads it from standard input."""
    kept = accounts.checked_name(name)
    account = Account(name=kept, role=role, password_hash=passwords.make_hash(_password(), kept))

    def make(session: Session) -> str:
        return accounts.add(session, account, now=datetime.now(UTC)).name

    _change(context, config, AuditEvent.ACCOUNT_ADDED, make)
    console.print(f"{kept} can log in as {role}", markup=False)


@app.command("list")
def list_users(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List accounts and tokens, with their latest use."""
    with open_database(settings(context, config)).read() as session:
        people = [_person(each) for each in accounts.everybody(session)]
        programs = [_program(each, datetime.now(UTC)) for each in tokens.everything(session)]
    if as_json:
        print_json({"accounts": people, "tokens": programs})
        return
    console.print(_table("account", "role", "state", "logs in with", "latest log-in", rows=people))
    if programs:
        console.print("", _table("token", "state", "expires", "latest use", rows=programs))


@app.command()
def role(context: typer.Context, name: NameArgument, to: RoleArgument, config: ConfigOption = None) -> None:
    """Give an account another role; the person logs in again."""
    _change_account(
        context,
        config,
        (name, AuditEvent.ROLE_CHANGED),
        lambda session, account: accounts.set_role(session, account, to),
    )
    console.print(f"{name} is {to}", markup=False)


@app.command()
def password(context: typer.Context, name: NameArgument, config: ConfigOption = None) -> None:
    """Give an account another password; asks for it, or reads it from standard input."""
    made = passwords.make_hash(_password(), name)
    _change_account(
        context,
        config,
        (name, AuditEvent.PASSWORD_CHANGED),
        lambda session, account: accounts.set_password_hash(session, account, made),
    )
    console.print(f"{name} has another password and is logged out everywhere", markup=False)


@app.command()
def disable(context: typer.Context, name: NameArgument, config: ConfigOption = None) -> None:
    """Close an account: nobody logs in with it, and who is logged in is out."""
    _change_account(
        context,
        config,
        (name, AuditEvent.ACCOUNT_DISABLED),
        lambda session, account: accounts.set_disabled(session, account, disabled=True),
    )
    console.print(f"{name} is closed", markup=False)


@app.command()
def enable(context: typer.Context, name: NameArgument, config: ConfigOption = None) -> None:
    """Open a closed account again."""
    _change_account(
        context,
        config,
        (name, AuditEvent.ACCOUNT_ENABLED),
        lambda session, account: accounts.set_disabled(session, account, disabled=False),
    )
    console.print(f"{name} is open", markup=False)


@app.command()
def logout(context: typer.Context, name: NameArgument, config: ConfigOption = None) -> None:
    """End every session of an account."""
    _change_account(context, config, (name, AuditEvent.SESSIONS_ENDED), sessions.end_all)
    console.print(f"{name} is logged out everywhere", markup=False)


@app.command()
def token(
    context: typer.Context,
    name: TokenArgument,
    days: Annotated[int, typer.Option(help="For how long it is valid.")] = tokens.DAYS,
    config: ConfigOption = None,
) -> None:
    """Make a token for a program; it is shown this once."""
    valid = tokens.checked_days(days)
    shown: list[str] = []

    def make(session: Session) -> str:
        shown.append(tokens.make(session, name, days=valid, now=datetime.now(UTC)))
        return accounts.checked_name(name)

    _change(context, config, AuditEvent.TOKEN_MADE, make)
    typer.echo(shown[0])


@app.command()
def revoke(context: typer.Context, name: TokenArgument, config: ConfigOption = None) -> None:
    """Take a token back: the program is refused from now on."""
    _change(
        context,
        config,
        AuditEvent.TOKEN_REVOKED,
        lambda session: tokens.revoke(session, name, datetime.now(UTC)).name,
    )
    console.print(f"the token {name} is revoked", markup=False)


def _change_account(
    context: typer.Context,
    config: ConfigOption,
    what: tuple[str, AuditEvent],
    change: Callable[[Session, Account], object],
) -> None:
    name, event = what

    def apply(session: Session) -> str:
        account = accounts.get(session, name)
        change(session, account)
        return account.name

    _change(context, config, event, apply)


def _change(
    context: typer.Context, config: ConfigOption, event: AuditEvent, change: Callable[[Session], str]
) -> None:
    """Make a change and keep its record in one transaction; who made it is the user of this machine."""
    actor = getpass.getuser()[: accounts.MAX_NAME]
    loaded = settings(context, config)
    database = open_database(loaded)
    with audit_log.handed_to(bootstrap.audit_trail(loaded, database, "users")):
        with database.write() as session:
            about = change(session)
            record = AuditRecord(at=datetime.now(UTC), event=event, actor=actor, role="console", about=about)
            audit.append(session, record)
        audit_log.hand_on(record)


def _password() -> str:
    """Typed twice at a terminal; else one line of standard input, for scripts."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _person(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "role": account.role,
        "state": "closed" if account.disabled else "open",
        "logs_in_with": account.issuer or "password",
        "last_login_at": _time(account.last_login_at),
    }


def _program(found: ServiceToken, now: datetime) -> dict[str, Any]:
    lapsed = "expired" if found.expires_at <= now else "valid"
    return {
        "name": found.name,
        "state": "revoked" if found.revoked_at else lapsed,
        "expires_at": _time(found.expires_at),
        "last_used_at": _time(found.last_used_at),
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _table(*titles: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(*titles, box=None, header_style="dim", pad_edge=False)
    for row in rows:
        table.add_row(*(Text((str(value) if value else "never")[:64]) for value in row.values()))
    return table
