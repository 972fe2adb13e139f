"""Who may: sessions, tokens, roles and the page's token, as every route asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from xml.etree.ElementTree import fromstring

import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from ich_triage.domain.audit import AuditEvent
from ich_triage.domain.roles import Role
from ich_triage.settings import Access, Audit, Oidc, Settings, Web
from ich_triage.store import accounts, secret, tokens
from ich_triage.store.account_tables import Audit as AuditRow
from ich_triage.store.account_tables import ServiceToken, WebSession
from ich_triage.store.database import Database
from ich_triage.telemetry import audit
from ich_triage.telemetry.audit_trail import Trail
from ich_triage.worklist import access
from ich_triage.worklist.access import Principal
from ich_triage.worklist.app import create
from tests.web import add_account, browser, csrf_token, log_in

JSON = {"accept": "application/json"}


def _with_routes(client: TestClient) -> TestClient:
    """Routes as other modules have them: one for each dependency."""
    app = client.app
    assert isinstance(app, FastAPI)

    @app.get("/who")
    def look(who: Annotated[Principal, Depends(access.viewer)]) -> dict[str, str | None]:
        return {"name": who.name, "role": who.role, "csrf_token": who.csrf_token}

    @app.get("/pictures/{number}")
    def picture(
        request: access.Request, number: int, who: Annotated[Principal, Depends(access.viewer)]
    ) -> int:
        access.audited(request, who, AuditEvent.PICTURES_VIEWED, study_instance_uid="1.2.3")
        return number

    @app.post("/feedback")
    def judge(who: Annotated[Principal, Depends(access.reader)]) -> str:
        return who.name

    @app.post("/api/v1/accounts")
    def change(who: Annotated[Principal, Depends(access.admin)]) -> str:
        return who.name

    return client


@pytest.fixture
def client(sqlite: Database) -> Iterator[TestClient]:
    """A browser on an application with a radiologist `reader` and an admin `chief`."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    add_account(sqlite, "chief", Role.ADMIN)
    with _with_routes(browser(sqlite)) as client:
        yield client


def _token(client: TestClient) -> str:
    return str(client.get("/who", headers=JSON).json()["csrf_token"])


def _recorded(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(sa.select(AuditRow.event).order_by(AuditRow.id)))


def _age(database: Database, **by: timedelta) -> None:
    """Make every session older than it is."""
    with database.write() as session:
        for each in session.scalars(sa.select(WebSession)):
            each.begun_at -= by.get("begun", timedelta())
            each.seen_at -= by.get("seen", timedelta())


def test_without_a_session_a_page_leads_to_the_login_and_a_program_is_told(client: TestClient) -> None:
    """Nobody sees anything unknown; whoever logs in comes back to the page wanted."""
    page = client.get("/pictures/3?window=brain")
    assert page.status_code == 303
    assert page.headers["location"] == "/login?next=%2Fpictures%2F3%3Fwindow%3Dbrain"
    for headers in (JSON, {"accept": "text/event-stream"}):
        told = client.get("/who", headers=headers)
        assert (told.status_code, told.headers["content-type"]) == (401, "application/problem+json")
        assert "log in" in told.json()["detail"]
    assert client.post("/api/v1/accounts").status_code == 401
    htmx = client.get("/who", headers={"hx-request": "true", "hx-current-url": "http://ich/pictures/3"})
    assert (htmx.status_code, htmx.headers["hx-redirect"]) == (401, "/login?next=%2Fpictures%2F3")


def test_a_session_knows_who_it_is_and_ends_at_logout(client: TestClient) -> None:
    """After log-out the cookie is worth nothing, whoever kept a copy."""
    answer = log_in(client, "READER")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = client.cookies["ich_session"]
    assert client.get("/who", headers=JSON).json() == {
        "name": "reader",
        "role": "radiologist",
        "csrf_token": access.csrf_token(cookie),
    }
    client.post("/logout", headers={"X-CSRF-Token": _token(client)})
    assert "ich_session" not in client.cookies
    client.cookies["ich_session"] = cookie
    assert client.get("/who").status_code == 303


@pytest.mark.risk("R-104")
def test_the_cookie_is_out_of_reach_and_not_in_the_database(sqlite: Database) -> None:
    """Over HTTPS the cookie is Secure and bound to the host; the database holds its hash alone."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    settings = Settings(web=Web(public_url="https://ich.example"))
    with browser(sqlite, settings, base_url="https://ich.example") as client:
        set_cookie = log_in(client, "reader").headers["set-cookie"]
    value = set_cookie.split("=")[1].split(";")[0]
    assert set_cookie.startswith("__Host-ich_session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(set_cookie.split("; "))
    with sqlite.read() as session:
        assert session.scalars(sa.select(WebSession.cookie_sha256)).all() == [secret.digest(value)]


def test_a_login_makes_a_new_session_and_ends_the_one_before(client: TestClient) -> None:
    """A cookie that somebody else put into the browser never becomes a session."""
    log_in(client, "reader")
    first = client.cookies["ich_session"]
    log_in(client, "chief")
    assert client.cookies["ich_session"] != first
    assert client.get("/who", headers=JSON).json()["name"] == "chief"
    client.cookies.clear()
    client.cookies["ich_session"] = first
    assert client.get("/who").status_code == 303


@pytest.mark.parametrize("by", [{"seen": timedelta(hours=3)}, {"begun": timedelta(hours=13)}])
@pytest.mark.risk("R-104")
def test_an_idle_and_an_old_session_end(
    client: TestClient, sqlite: Database, by: dict[str, timedelta]
) -> None:
    """A workstation left alone, and a log-in of yesterday, show nothing."""
    log_in(client, "reader")
    assert client.get("/who").status_code == 200
    _age(sqlite, **by)
    assert client.get("/who").status_code == 303
    log_in(client, "reader")
    with sqlite.read() as session:
        assert len(session.scalars(sa.select(WebSession)).all()) == 1


def test_requests_keep_a_session_alive(client: TestClient, sqlite: Database) -> None:
    """Idleness counts from the latest request, not from the log-in."""
    log_in(client, "reader")
    for _ in range(3):
        _age(sqlite, seen=timedelta(hours=1, minutes=30))
        assert client.get("/who").status_code == 200


def test_lifetimes_are_settings(sqlite: Database) -> None:
    """A site that wants ten minutes has ten minutes."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    with _with_routes(browser(sqlite, Settings(access=Access(idle_s=600)))) as client:
        log_in(client, "reader")
        _age(sqlite, seen=timedelta(minutes=11))
        assert client.get("/who").status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "é" * 40, "a" * 5000, "'; DROP TABLE accounts; --", "\\x00"])
@pytest.mark.risk("R-104")
def test_a_forged_cookie_is_no_session(client: TestClient, cookie: str) -> None:
    """Whatever is in the cookie, without a log-in behind it there is no session, and no error."""
    header = {"cookie": f"ich_session={cookie}".encode()}
    assert client.get("/who", headers=header).status_code == 303


@pytest.mark.parametrize("change", ["disabled", "role", "password"])
@pytest.mark.risk("R-104")
def test_what_takes_rights_away_ends_sessions(client: TestClient, sqlite: Database, change: str) -> None:
    """Who is dismissed at noon sees nothing at noon."""
    log_in(client, "reader")
    with sqlite.write() as session:
        account = accounts.get(session, "reader")
        if change == "disabled":
            accounts.set_disabled(session, account, disabled=True)
        elif change == "role":
            accounts.set_role(session, account, Role.ADMIN)
        else:
            accounts.set_password_hash(session, account, "")
    assert client.get("/who").status_code == 303


@pytest.mark.risk("R-108")
def test_roles_decide_and_refusals_are_kept(client: TestClient, sqlite: Database) -> None:
    """An admin gives no feedback, a radiologist changes no accounts; both is told and recorded."""
    log_in(client, "chief")
    refused = client.post("/feedback", headers={"X-CSRF-Token": _token(client)})
    assert refused.status_code == 403
    assert "radiologist" in refused.text and "<h1>Forbidden</h1>" in refused.text
    assert client.post("/api/v1/accounts", headers={"X-CSRF-Token": _token(client)}).json() == "chief"
    log_in(client, "reader")
    assert client.post("/feedback", headers={"X-CSRF-Token": _token(client)}).json() == "reader"
    refused = client.post("/api/v1/accounts", headers={"X-CSRF-Token": _token(client)})
    assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")
    assert _recorded(sqlite).count("access_refused") == 2


@pytest.mark.risk("R-106")
def test_a_change_needs_the_token_of_its_own_session(client: TestClient, sqlite: Database) -> None:
    """Another site's form, and a token of another session, change nothing."""
    log_in(client, "reader")
    earlier = _token(client)
    log_in(client, "reader")
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": earlier}, {"X-CSRF-Token": "é".encode()}):
        assert client.post("/feedback", headers=headers).status_code == 403
    assert client.post("/feedback", data={"csrf_token": earlier}).status_code == 403
    assert client.post("/feedback", data={"csrf_token": _token(client)}).status_code == 200
    assert client.post("/feedback", files={"csrf_token": b"x"}).status_code == 403
    assert client.post("/feedback", json={"csrf_token": _token(client)}).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://ich"}, 200),
        ({"origin": "http://evil"}, 403),
        ({"origin": "null"}, 403),
    ],
)
@pytest.mark.risk("R-106")
def test_another_sites_page_changes_nothing(client: TestClient, headers: dict[str, str], status: int) -> None:
    """What the browser says about where a request comes from is believed, with the right token even."""
    log_in(client, "reader")
    headers = headers | {"X-CSRF-Token": _token(client)}
    assert client.post("/feedback", headers=headers).status_code == status
    foreign = client.post("/login", data={"name": "x", "password": "y"}, headers=headers)
    assert foreign.status_code == (401 if status == 200 else 403)


def _make_token(database: Database, name: str, *, days: int = 1) -> str:
    with database.write() as session:
        return tokens.make(session, name, days=days, now=datetime.now(UTC))


@pytest.mark.risk("R-110")
def test_a_service_token_reads_and_changes_nothing(client: TestClient, sqlite: Database) -> None:
    """A program reads without log-in and without the page's token; it judges nothing and manages nobody."""
    bearer = {"authorization": f"Bearer {_make_token(sqlite, 'dashboard')}"}
    told = client.get("/who", headers=bearer)
    assert told.json() == {"name": "dashboard", "role": "service", "csrf_token": None}
    assert client.post("/feedback", headers=bearer).status_code == 403
    assert client.post("/api/v1/accounts", headers=bearer).status_code == 403
    with sqlite.read() as session:
        assert session.scalars(sa.select(ServiceToken)).one().last_used_at is not None


@pytest.mark.risk("R-110")
def test_forged_expired_and_revoked_tokens_are_refused(client: TestClient, sqlite: Database) -> None:
    """A session beside it does not help: what is shown must be right."""
    expired, revoked = _make_token(sqlite, "expired", days=0), _make_token(sqlite, "revoked")
    with sqlite.write() as session:
        tokens.revoke(session, "revoked", datetime.now(UTC))
    log_in(client, "reader")
    for shown in (f"Bearer {expired}", f"Bearer {revoked}", "Bearer ich_forged", "Bearer", "Basic eDp5", "é"):
        told = client.get("/who", headers={"authorization": shown.encode()} | JSON)
        assert (told.status_code, told.headers["www-authenticate"]) == (401, "Bearer"), shown


def test_a_refused_token_is_in_the_trail_once_a_minute(client: TestClient, tmp_path: Path) -> None:
    """A replayed token is an alert to who collects them, not a way to fill the trail."""
    file = tmp_path / "audit.xml"
    with audit.handed_to(Trail(Audit(file=file), "web")):
        for _ in range(5):
            assert (
                client.get("/who", headers={"authorization": "Bearer ich_forged"} | JSON).status_code == 401
            )
    (message,) = map(fromstring, file.read_bytes().splitlines())
    assert [each.get("csd-code") for each in message[0]] == ["110114", "110122"]
    assert message[0].get("EventOutcomeIndicator") == "4"
    assert b"ich_forged" not in file.read_bytes()


def test_pictures_of_a_study_are_one_record_a_minute(client: TestClient, sqlite: Database) -> None:
    """Scrolling through a study does not fill the audit trail; another session of the same person counts."""
    for _ in range(2):
        log_in(client, "reader")
        for number in range(5):
            client.get(f"/pictures/{number}")
    assert _recorded(sqlite) == ["login_succeeded", "pictures_viewed"] * 2
    with sqlite.read() as session:
        kept = session.scalars(sa.select(AuditRow).where(AuditRow.event == "pictures_viewed")).first()
    assert kept is not None
    assert (kept.actor, kept.role, kept.study_instance_uid) == ("reader", "radiologist", "1.2.3")
    assert kept.address == "testclient"


def test_a_page_carries_the_token_for_its_forms_and_for_htmx(client: TestClient) -> None:
    """Whatever a page sends, by form or by htmx, has the token with it."""
    log_in(client, "chief")
    page = client.post("/feedback", headers={"X-CSRF-Token": _token(client)}).text
    assert csrf_token(page) == _token(client)
    assert f"""hx-headers='{{"X-CSRF-Token": "{_token(client)}"}}'""" in page


#: routes that nobody has to log in for: they show nothing of a patient, and lead to the log-in
_LOG_IN = frozenset({"/login", "/first-admin", "/login/provider", "/login/provider/back"})
#: nor do these; /metrics has a rule of its own
_OPEN = _LOG_IN | {"/healthz", "/readyz", "/metrics"}


@pytest.mark.risk("R-108")
def test_no_route_is_without_a_dependency_of_access(sqlite: Database) -> None:
    """Whoever adds a route says who may, or adds it to the few that are open on purpose."""
    oidc = Oidc(issuer="https://id.example", client_id="x", roles={"x": "admin"})
    app = create(Settings(oidc=oidc), sqlite)
    guarded: dict[str, bool] = {}
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            calls = set(_calls(route.dependant))
            guarded[str(route.path)] = bool(calls & {access.viewer, access.reader, access.admin})
    assert {path for path, safe in guarded.items() if not safe} == _OPEN


def _calls(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def test_both_databases_keep_sessions_tokens_and_records(database: Database) -> None:
    """The same on SQLite and on PostgreSQL, from log-in to log-out."""
    add_account(database, "reader", Role.RADIOLOGIST)
    bearer = {"authorization": f"Bearer {_make_token(database, 'dashboard')}"}
    with _with_routes(browser(database)) as client:
        assert log_in(client, "reader\x00").status_code == 401
        assert log_in(client, "reader").status_code == 303
        _age(database, seen=timedelta(minutes=2))
        assert client.get("/pictures/1").json() == 1
        assert client.post("/logout", headers={"X-CSRF-Token": _token(client)}).status_code == 303
        assert client.get("/who", headers=bearer).json()["name"] == "dashboard"
    events = ["login_failed", "login_succeeded", "pictures_viewed", "logged_out"]
    assert _recorded(database) == events
