"""`ich-triage doctor`: look at everything the service needs; every finding names its remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from ..dicom import scu
from ..domain.label import SYNTHETIC
from ..errors import IchTriageError
from ..outputs import webhook
from ..outputs.mllp import MllpLink
from ..settings import DicomDestination, MllpDestination, Settings, WebhookDestination
from ..storage.files import Files, files_of
from ..store import accounts, commitments, deliveries, migrate, problems, results, ups_events, workers
from ..store.database import Database
from ..telemetry.syslog import Syslog
from .doctor_listeners import echoes as _echo
from .doctor_listeners import look_at_commitment as _commitments
from .doctor_listeners import look_at_listener
from .doctor_secrets import look_at_secrets
from .doctor_store import look_at_store
from .findings import Finding
from .findings import error as _error
from .findings import ok as _ok
from .findings import warning as _warning
from .options import ConfigOption, JsonOption, config_path, console, print_json, settings

Check = Callable[[Settings], Iterator[Finding]]
_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def doctor(
    context: typer.Context,
    as_json: JsonOption = False,
    model: Annotated[bool, typer.Option(help="Load the model and run its self-test.")] = True,
    config: ConfigOption = None,
) -> None:
    """Check configuration, port, disk, database, model and every destination."""
    loaded = settings(context, config)
    named = config_path(context, config)
    found = [_ok("configuration", str(named) if named else "built-in defaults and environment")]
    found += look_at_secrets(loaded, named)
    checks: tuple[Check, ...] = (
        _port,
        _query,
        _spool,
        _database,
        _backlog,
        _access,
        _provider,
        _destinations,
        _commitments,
        _audit,
    )
    for check in (*checks, _registry, _model) if model else checks:
        found += check(loaded)
    if as_json:
        print_json([vars(each) for each in found])
    else:
        for each in found:
            sign, style = _SIGNS[each.level]
            remedy = f"\n    → {each.remedy}" if each.remedy else ""
            console.print(Text(f"{sign} {each.subject}: {each.seen}{remedy}", style=style))
    if any(each.level == "error" for each in found):
        raise typer.Exit(1)


def _port(loaded: Settings) -> Iterator[Finding]:
    """Of the receiver."""
    yield from look_at_listener("DICOM port", loaded.dicom, "receiver", loaded, calling="ICH_DOCTOR")
    if loaded.dicom.open_to_strangers and not loaded.peers:
        yield _warning(
            "DICOM peers",
            seen="no [[peers]]: everybody who reaches the port may store studies",
            remedy="name scanners and PACS in [[peers]], by address or certificate (docs/security.md)",
        )


def _query(loaded: Settings) -> Iterator[Finding]:
    """What other systems ask, and whether those who want to hear of changes can be told."""
    if not loaded.query.enabled:
        return
    callers = loaded.query.calling_ae_titles
    yield from look_at_listener(
        "query port", loaded.query, "query", loaded, calling=(*callers, "ICH_DOCTOR")[0]
    )
    if not (callers or loaded.peers):
        yield _ok("query", "no calling_ae_titles: every program on this machine may ask for patients")
    for subscriber in loaded.query.subscribers:
        peer, name = scu.Peer.of(subscriber), f"subscriber {subscriber.name}"
        yield _echo(name, peer, calling=loaded.query.ae_title, loaded=loaded)


def _spool(loaded: Settings) -> Iterator[Finding]:
    path, reserve = loaded.spool.path, loaded.spool.reserve_bytes
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        yield _error(
            "spool",
            seen=f"{path} cannot be written",
            remedy=f"give the service's user the right to write {existing}, or set [spool] path",
        )
        return
    free = shutil.disk_usage(existing).free
    if free < reserve:
        yield _error(
            "spool",
            seen=f"{free / 1e9:.1f} GB free at {path}, below the reserve of {reserve / 1e9:.1f} GB: "
            "scanners are answered A700 (out of resources)",
            remedy="free space, move [spool] path, or lower [spool] reserve_bytes",
        )
        return
    yield _ok("spool", f"{path}, {free / 1e9:.1f} GB free, reserve {reserve / 1e9:.1f} GB")
    if loaded.spool.url:
        yield from look_at_store(loaded)
    with suppress(OSError):  # told by the look at the store
        yield from _inbox(files_of(loaded.spool))


def _inbox(spool: Files) -> Iterator[Finding]:
    """What a receiver has not seen to."""
    waiting = sum(entry.path.endswith(".dcm") for entry in spool.list("inbox"))
    if waiting:
        yield _warning(
            "spool",
            seen=f"{waiting} objects wait in the inbox for the index",
            remedy="start the receiver; if it runs, look at its log for database errors",
        )


def _database(loaded: Settings) -> Iterator[Finding]:
    database = Database(loaded.database.url)
    shown = database.url.render_as_string(hide_password=True)
    try:
        have, need = migrate.current(database), migrate.head()
    except Exception as error:  # noqa: BLE001 - whatever the driver raises is the finding
        yield _error(
            "database",
            seen=f"{shown} does not answer ({type(error).__name__})",
            remedy="start the database server, or set [database] url",
        )
        return
    if have == need:
        yield _ok("database", f"{shown}, schema {have}")
    else:
        yield _error(
            "database",
            seen=f"{shown} has schema {have or 'none'}, this release needs {need}",
            remedy=migrate.remedy(have),
        )


def _backlog(loaded: Settings) -> Iterator[Finding]:
    """What a person has to look at: studies nobody works on, dead letters, problems with received objects."""
    database = Database(loaded.database.url)
    try:
        migrate.require_current(database)
    except Exception:  # noqa: BLE001 - told by the check of the database
        return
    with database.read() as session:
        dead, troubled = deliveries.dead_studies(session), problems.recent(session)
        waiting = [*results.waiting(session), *results.in_queue(session)]
        alive = workers.living(session, dead_after_s=loaded.worker.dead_after_s)
        off_course = workers.off_course(session, dead_after_s=loaded.worker.dead_after_s)
        untold = {ae: why for ae, (_, why) in ups_events.waiting(session).items() if why}
        not_committed = {ae: why for ae, (_, why) in commitments.waiting(session).items() if why}
    if waiting and not alive:
        yield _error(
            "workers",
            seen=f"studies wait to be analysed ({len(waiting)}), and no worker is alive",
            remedy="start `ich-triage serve`; where it runs, its log says why the worker ends",
        )
    for worker in off_course:
        yield _error(
            "workers",
            seen=f"the worker on {worker.host} did not take the model package in force and runs "
            f"{worker.package}: {worker.package_problem}",
            remedy="mend what it says; or `ich-triage models rollback`",
        )
    for ae_title, why in untold.items():
        yield _warning(
            "events",
            seen=f"{ae_title} cannot be told of changes to the list: {why}",
            remedy="mend what it says; events wait meanwhile, and are told again by themselves",
        )
    for ae_title, why in not_committed.items():
        yield _warning(
            "storage commitment",
            seen=f"{ae_title} cannot be told what we have committed to: {why}",
            remedy="mend what it says, or host and port of its [[peers]] table; it is told again by itself",
        )
    for uid in dead:
        yield _error(
            "deliveries",
            seen=f"study {uid} has a dead delivery",
            remedy=f"mend the destination, then `ich-triage redeliver {uid}`",
        )
    if troubled:
        yield _warning(
            "received objects",
            seen=f"{len(troubled)} problems recorded, the latest {troubled[0].kind} at {troubled[0].at}",
            remedy=f"look at {loaded.spool.where}/quarantine and at `ich-triage study UID`",
        )


def _access(loaded: Settings) -> Iterator[Finding]:
    """Whether somebody can log in and look after the others."""
    database = Database(loaded.database.url)
    try:
        migrate.require_current(database)
    except Exception:  # noqa: BLE001 - told by the check of the database
        return
    with database.read() as session:
        there_is_one = accounts.has_admin(session)
    if there_is_one:
        yield _ok("web access", "there is an admin")
    elif loaded.access.passwords:
        yield _warning(
            "web access",
            seen="there is no admin: nobody can make accounts on the pages",
            remedy="follow the link that `ich-triage web` prints at its start, or run "
            "`ich-triage users add NAME --role admin`",
        )
    else:
        yield _warning(
            "web access",
            seen="no admin has logged in through the provider yet",
            remedy="log in as somebody whose group [oidc] roles maps to admin",
        )


def _provider(loaded: Settings) -> Iterator[Finding]:
    """Whether the OpenID provider answers, and is who it should be."""
    if not loaded.oidc.issuer:
        return
    import httpx2  # takes longer to load than most commands to run

    address = loaded.oidc.issuer.rstrip("/") + "/.well-known/openid-configuration"
    said = f"{address} does not answer as it should"
    try:
        loaded.oidc.secret()
        issuer = httpx2.get(address, timeout=loaded.delivery.timeout_s).raise_for_status().json()["issuer"]
    except IchTriageError as error:
        yield _error(
            "OpenID provider", seen=str(error), remedy="make the file readable for the service's user"
        )
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        yield _error(
            "OpenID provider",
            seen=f"{said} ({type(error).__name__}): nobody gets in through it",
            remedy="check [oidc] issuer, the network, and whether this machine trusts its certificate",
        )
    else:
        yield _issuer(loaded.oidc.issuer, issuer)


def _issuer(expected: str, told: object) -> Finding:
    if told == expected:
        return _ok("OpenID provider", f"{expected} answers")
    return _error(
        "OpenID provider",
        seen=f"it calls itself {told!r}, [oidc] issuer is {expected!r}: nobody gets in through it",
        remedy="set [oidc] issuer to exactly what the provider calls itself",
    )


def _destinations(loaded: Settings) -> Iterator[Finding]:
    if not loaded.destinations:
        yield _warning(
            "destinations",
            seen="none configured: results go nowhere",
            remedy="add [[destinations]] to the configuration",
        )
    for destination in loaded.destinations:
        match destination:
            case DicomDestination():
                peer, calling = scu.Peer.of(destination), loaded.dicom.ae_title
                yield _echo(f"destination {destination.name}", peer, calling=calling, loaded=loaded)
            case MllpDestination():
                yield _connects(destination, loaded)
            case WebhookDestination():
                yield _answers(destination, loaded)


def _connects(destination: MllpDestination, loaded: Settings) -> Finding:
    """Whether somebody listens; nothing is sent, so it is not known whether that speaks HL7."""
    subject = f"destination {destination.name}"
    try:
        with MllpLink(destination, timeout_s=loaded.delivery.timeout_s):
            pass
    except IchTriageError as error:
        return _error(
            subject, seen=str(error), remedy="check host, port and tls, and that the interface is started"
        )
    how = "TLS" if destination.tls else "no encryption"
    return _ok(subject, f"{destination.host}:{destination.port} takes connections, {how}")


def _answers(destination: WebhookDestination, loaded: Settings) -> Finding:
    """Whether the host answers; nothing is posted, so it is not known whether the URL is right."""
    subject = f"destination {destination.name}"
    try:
        webhook.check(destination, timeout_s=loaded.delivery.timeout_s)
    except IchTriageError as error:
        return _error(subject, seen=str(error), remedy="check url, ca_file and the secret (docs/webhook.md)")
    return _ok(subject, "the host of its url takes connections, and there is a secret to sign with")


def _audit(loaded: Settings) -> Iterator[Finding]:
    """Whether file and syslog server take audit messages; nothing is written, nothing sent."""
    file, server = loaded.audit.file, loaded.audit.syslog
    if file:
        existing = next(path for path in (file.absolute(), *file.absolute().parents) if path.exists())
        if os.access(existing, os.W_OK):
            yield _ok("audit file", f"{file} can be written")
        else:
            yield _error(
                "audit file",
                seen=f"{existing} cannot be written",
                remedy="give it to the service's user, or set [audit] file",
            )
    if server:
        try:
            Syslog(loaded.audit).check()
        except (IchTriageError, OSError) as error:
            yield _error(
                "audit syslog",
                seen=f"{server} takes no messages: {error}",
                remedy="check [audit] syslog, the network and the certificates; messages wait meanwhile",
            )
        else:
            yield _ok("audit syslog", f"{server} takes connections" if "udp:" not in server else server)


def _registry(loaded: Settings) -> Iterator[Finding]:
    """What is published, what is in force, and whether the configuration overrules it."""
    from .. import bootstrap  # loads torch

    known = bootstrap.models(loaded, Database(loaded.database.url))
    try:
        promoted, names = known.promoted(), known.registry.names()
    except SQLAlchemyError:
        return  # told by the check of the database
    where, in_force = loaded.model.registry, promoted.package.name
    pinned = f"[model] package pins {loaded.model.package}"
    if known.pinned and promoted.number:
        yield _warning(
            "registry",
            seen=f"{pinned} and overrules the registry, where {in_force} is in force",
            remedy="leave [model] package out to follow the registry",
        )
    elif known.pinned:
        yield _ok("registry", pinned)
    elif names and len(promoted.packages) == 1:
        yield _warning(
            "registry",
            seen=f"{len(names)} packages in {where}, none of them in force: the one that ships is",
            remedy="`ich-triage models promote NAME`; once more when the database was lost",
        )
    else:
        yield _ok("registry", f"{len(names)} packages in {where}, {in_force} is in force")


def _model(loaded: Settings) -> Iterator[Finding]:
    """The package in force; the one that ships while there is no database that could name another."""
    from .. import bootstrap  # loads torch
    from ..model.registry import shipped

    try:
        folder = bootstrap.models(loaded, Database(loaded.database.url)).in_force().package
    except SQLAlchemyError:
        folder = shipped()
    try:
        package = folder.load()
        bootstrap.prove(loaded, package)
    except IchTriageError as error:
        yield _error(
            "model",
            seen=str(error),
            remedy="`ich-triage models rollback`; or set [model] package to a whole package, or leave it out",
        )
        return
    identity = package.identity
    told = f"{identity.name} {identity.version} ({identity.weights_sha256[:12]}), self-test passed"
    if identity.synthetic:
        yield _warning(
            "model",
            seen=f"{told}. {SYNTHETIC}",
            remedy="train on real data before any clinical use (docs/howto/train.md)",
        )
    else:
        yield _ok("model", told)
