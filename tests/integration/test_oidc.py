"""Log-in through a real OpenID Connect provider: the good way, and every way in which it may go wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import structlog
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.testclient import TestClient
from pydantic import ValidationError
from typer.testing import CliRunner

from ich_triage.cli import app as cli
from ich_triage.domain.roles import Role
from ich_triage.settings import Access, Oidc, Settings
from ich_triage.store import accounts
from ich_triage.store.account_tables import Account, Audit, PendingLogin
from ich_triage.store.database import Database
from tests.openid import CLIENT_ID, CLIENT_SECRET, OpenIdPeer, openid_peer, unsigned
from tests.peers import probe_port
from tests.service import write_config
from tests.web import add_account, browser, log_in

ROLES = {"chiefs": "admin", "readers": "radiologist"}


@pytest.fixture
def peer() -> Iterator[OpenIdPeer]:
    """A provider that knows Anna Müller, a reader."""
    with openid_peer() as peer:
        yield peer


def _settings(peer: OpenIdPeer, **oidc: Any) -> Settings:
    known = {"issuer": peer.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "roles": ROLES}
    return Settings(oidc=Oidc(**known | oidc))


@pytest.fixture
def client(sqlite: Database, peer: OpenIdPeer) -> Iterator[TestClient]:
    """A browser on an application that trusts the provider."""
    with browser(sqlite, _settings(peer)) as client:
        yield client


def _at_provider(client: TestClient, then: str = "/") -> str:
    """Leave for the provider, who is content; the URL to which it sends the browser back."""
    left = client.get("/login/provider", params={"next": then})
    assert left.status_code == 303, left.text
    return httpx.get(left.headers["location"]).headers["location"]


def _account(database: Database) -> Account:
    with database.read() as session:
        return session.scalars(sa.select(Account)).one()


def test_a_person_whom_the_provider_knows_gets_an_account_at_the_first_login(
    client: TestClient, sqlite: Database, peer: OpenIdPeer
) -> None:
    """Name and role come from the claims; the next log-in finds the same account by whatever name."""
    assert f"Log in through {peer.issuer}" in client.get("/login").text
    for name in ("Anna Müller", "Anna Schmidt"):
        peer.claims["preferred_username"] = name
        back = client.get(_at_provider(client, "/studies/1.2.3"))
        assert (back.status_code, back.headers["location"]) == (303, "/studies/1.2.3")
        page = client.get("/account").text
        assert "<h1>Anna Müller</h1>" in page and "Change your password there" in page
    account = _account(sqlite)
    assert (account.role, account.issuer, account.subject) == ("radiologist", peer.issuer, "4711")
    assert client.get("/users").status_code == 403


def test_the_groups_decide_the_role_at_every_login(
    client: TestClient, sqlite: Database, peer: OpenIdPeer
) -> None:
    """Who is moved to another group has the other role, and sessions of the old one end."""
    peer.claims["groups"] = ["readers", "chiefs"]
    client.get(_at_provider(client))
    assert client.get("/users").status_code == 200
    peer.claims["groups"] = "readers"
    with TestClient(client.app, base_url="http://ich", follow_redirects=False) as elsewhere:
        elsewhere.get(_at_provider(elsewhere))
        assert elsewhere.get("/users").status_code == 403
    assert client.get("/users").status_code == 303
    assert _account(sqlite).role == "radiologist"


def test_groups_may_lie_within_other_claims(sqlite: Database, peer: OpenIdPeer) -> None:
    """Some providers put them there."""
    peer.claims |= {"realm_access": {"roles": ["chiefs"]}, "groups": []}
    with browser(sqlite, _settings(peer, role_claim="realm_access.roles", client_secret="")) as client:
        assert client.get(_at_provider(client)).status_code == 303
    assert _account(sqlite).role == "admin"


def test_keys_may_change_at_any_time(client: TestClient, peer: OpenIdPeer) -> None:
    """A log-in begun under the old key ends under the new one."""
    client.get(_at_provider(client))
    back = _at_provider(client)
    peer.rotate()
    assert client.get(back).status_code == 303


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"nonce": "of another log-in"}, "invalid_claim"),
        ({"nonce": None}, "missing_claim|invalid_claim"),
        ({"aud": "another client"}, "invalid_claim"),
        ({"aud": ["another client"], "azp": CLIENT_ID}, "invalid_claim"),
        ({"iss": "https://evil.example"}, "invalid_claim"),
        ({"exp": int(time.time()) - 3600}, "expired_token"),
        ({"exp": "never"}, "invalid_claim"),
        ({"sub": ""}, "missing_claim|invalid_claim"),
        ({"groups": ["visitors"]}, "none of your groups"),
        ({"groups": None}, "none of your groups"),
        ({"groups": {"readers": True}}, "none of your groups"),
        ({"groups": [["readers"]]}, "none of your groups"),
        ({"preferred_username": None}, "what you are called"),
        ({"preferred_username": ["x"]}, "what you are called"),
        ({"preferred_username": "<script>"}, "letters, digits"),
    ],
)
@pytest.mark.risk("R-109")
def test_claims_that_do_not_hold_let_nobody_in(
    client: TestClient, sqlite: Database, peer: OpenIdPeer, claims: dict[str, Any], why: str
) -> None:
    """The page says why and what to do; no account is made."""
    peer.claims |= claims
    refused = client.get(_at_provider(client))
    assert refused.status_code == 403
    assert any(each in refused.text for each in why.split("|")), refused.text
    assert client.get("/account").status_code == 303
    with sqlite.read() as session:
        assert accounts.everybody(session) == []


@pytest.mark.risk("R-109")
def test_an_answer_is_good_once_and_for_the_browser_that_asked(client: TestClient, sqlite: Database) -> None:
    """A URL that somebody overheard, or slips to another person, logs nobody in."""
    back = _at_provider(client)
    cookie = client.cookies["ich_login"]
    with TestClient(client.app, base_url="http://ich", follow_redirects=False) as other:
        assert other.get(back).status_code == 403
        _at_provider(other)
        assert "mismatching_state" in other.get(back).text
    assert client.get(back).status_code == 303
    client.cookies.clear()
    replayed = client.get(back, headers={"cookie": f"ich_login={cookie}"})
    assert replayed.status_code == 403
    assert "used already" in replayed.text
    with sqlite.read() as session:
        events = list(session.scalars(sa.select(Audit.event).order_by(Audit.id)))
        assert (events[-1], events.count("login_failed")) == ("login_failed", 3)
        assert session.scalars(sa.select(PendingLogin)).all() == []


def test_a_login_that_takes_too_long_begins_again(client: TestClient, sqlite: Database) -> None:
    """Ten minutes at the provider are enough."""
    back = _at_provider(client)
    with sqlite.write() as session:
        session.scalars(sa.select(PendingLogin)).one().expires_at = datetime.now(UTC) - timedelta(seconds=1)
    assert "ten minutes" in client.get(back).text


@pytest.mark.parametrize(
    "answer",
    [
        unsigned(),
        JSONResponse({"access_token": "x", "token_type": "Bearer"}),
        JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": "a.b.c"}),
        JSONResponse({"error": "invalid_grant"}, status_code=400),
        JSONResponse([1], status_code=200),
        PlainTextResponse("<html>maintenance", status_code=200),
        PlainTextResponse("", status_code=503),
    ],
)
def test_an_answer_that_is_no_token_lets_nobody_in(
    client: TestClient, peer: OpenIdPeer, answer: Response
) -> None:
    """Neither a token without signature, nor none, nor a page."""
    peer.token_answer = answer
    refused = client.get(_at_provider(client))
    assert refused.status_code == 403
    assert "what it says about you was not accepted" in refused.text


@pytest.mark.parametrize(
    "query", ["", "?state=x", "?code=x&state=", "?error=access_denied&error_description=<script>x</script>"]
)
def test_a_malformed_way_back_is_refused(client: TestClient, query: str) -> None:
    """What the browser brings is shown to nobody as it is."""
    _at_provider(client)
    refused = client.get(f"/login/provider/back{query}")
    assert refused.status_code == 403
    assert "<script>" not in refused.text


@pytest.mark.parametrize(
    ("discovery", "leaving", "coming_back"),
    [
        ({"issuer": "https://evil.example"}, 502, 403),
        ({"authorization_endpoint": None}, 502, 303),
        ({"authorization_endpoint": 7}, 502, 303),
        ({"token_endpoint": 7}, 303, 403),
        ({"jwks_uri": None}, 303, 403),
        ({"jwks_uri": "http://127.0.0.1:1/keys"}, 303, 403),
        ({"id_token_signing_alg_values_supported": 3}, 502, 403),
    ],
)
def test_a_provider_that_describes_itself_wrongly_is_not_trusted(
    client: TestClient, peer: OpenIdPeer, discovery: dict[str, Any], leaving: int, coming_back: int
) -> None:
    """Whatever its description lacks, people read why the log-in failed."""
    back = _at_provider(client)
    peer.discovery = discovery
    answers = client.get(back), client.get("/login/provider")
    assert [answer.status_code for answer in answers] == [coming_back, leaving]
    for answer in answers:
        assert answer.status_code == 303 or 'role="alert"' in answer.text


def test_a_provider_that_is_away_shuts_nobody_out_who_has_a_password(
    client: TestClient, sqlite: Database, peer: OpenIdPeer
) -> None:
    """The page says so, and the form beside it works."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    with openid_peer() as gone:
        away = _settings(gone)
    with browser(sqlite, away) as client:
        answer = client.get("/login/provider")
        assert answer.status_code == 502
        assert "does not answer as it should" in answer.text
        assert log_in(client, "reader").status_code == 303


def test_a_name_that_has_a_password_here_is_nobody_elses(
    client: TestClient, sqlite: Database, peer: OpenIdPeer
) -> None:
    """Whoever can choose a name at the provider does not become the person of that name here."""
    add_account(sqlite, "anna müller", Role.ADMIN)
    refused = client.get(_at_provider(client))
    assert refused.status_code == 403
    assert "already" in refused.text


def test_a_closed_account_stays_closed(client: TestClient, sqlite: Database) -> None:
    """The provider vouches for who somebody is, not for what is closed here."""
    client.get(_at_provider(client))
    with sqlite.write() as session:
        accounts.set_disabled(session, accounts.get(session, "Anna Müller"), disabled=True)
    refused = client.get(_at_provider(client))
    assert refused.status_code == 403
    assert "is closed" in refused.text


def test_without_passwords_the_provider_is_the_only_way(sqlite: Database, peer: OpenIdPeer) -> None:
    """The form is gone, and so is what it was sent to."""
    settings = _settings(peer).model_copy(update={"access": Access(passwords=False)})
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    with browser(sqlite, settings) as client:
        assert 'type="password"' not in client.get("/login").text
        refused = log_in(client, "reader")
        assert refused.status_code == 403
        assert peer.issuer in refused.text
        assert client.get("/first-admin").status_code == 403
        assert client.get(_at_provider(client)).status_code == 303


@pytest.mark.parametrize("roles", [{}, {"readers": "radiologist"}])
def test_passwords_are_given_up_only_where_an_admin_can_still_log_in(roles: dict[str, str]) -> None:
    """A configuration that locks everybody out is refused at the start."""
    with pytest.raises(ValidationError, match="nobody who can log in as admin"):
        Settings.model_validate({"access": {"passwords": False}, "oidc": {"roles": roles}})


def test_begun_logins_are_limited(client: TestClient, sqlite: Database) -> None:
    """Nobody fills the database, or floods the provider, through us."""
    statuses = [client.get("/login/provider").status_code for _ in range(61)]
    assert statuses == [303] * 60 + [429]
    for _ in range(40):
        assert client.get("/login/provider/back", params={"code": "x", "state": "y"}).status_code == 403
    with sqlite.read() as session:
        events = list(session.scalars(sa.select(Audit.event)))
    assert (events.count("login_failed"), events.count("login_limited")) == (30, 1)


@pytest.mark.risk("R-112")
def test_no_log_line_has_what_opens_a_door(client: TestClient, peer: OpenIdPeer) -> None:
    """Neither code nor state, cookie or secret is written, in success or in failure."""
    with structlog.testing.capture_logs() as lines:
        back = _at_provider(client)
        cookie = client.cookies["ich_login"]
        client.get(back)
        peer.claims["aud"] = "another client"
        client.get(_at_provider(client))
    assert {"login_succeeded", "oidc_failed", "login_failed"} <= {line["event"] for line in lines}
    query = httpx.URL(back).params
    for hidden in (query["code"], query["state"], cookie, client.cookies["ich_session"], CLIENT_SECRET):
        assert hidden not in repr(lines)


def _doctor(config: Path) -> dict[str, Any]:
    """What `ich-triage doctor` says about log-in, by subject."""
    told = CliRunner().invoke(cli.app, ["--config", str(config), "doctor", "--no-model", "--json"])
    return {each["subject"]: each for each in json.loads(told.stdout)}


def test_doctor_says_who_can_log_in(
    sqlite: Database, peer: OpenIdPeer, tmp_path: Path, dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No admin, a provider that is another or away, a secret that cannot be read: each with what to do."""
    config = write_config(tmp_path, port=probe_port())
    found = _doctor(config)
    assert "users add NAME --role admin" in found["web access"]["remedy"]
    assert "OpenID provider" not in found
    add_account(sqlite, "chief", Role.ADMIN)
    for key, value in (("ISSUER", peer.issuer), ("CLIENT_ID", CLIENT_ID), ("ROLES", json.dumps(ROLES))):
        monkeypatch.setenv(f"ICH_TRIAGE_OIDC__{key}", value)
    found = _doctor(config)
    assert {found[subject]["level"] for subject in ("web access", "OpenID provider")} == {"ok"}
    peer.discovery = {"issuer": "https://evil.example"}
    assert "exactly" in _doctor(config)["OpenID provider"]["remedy"]
    monkeypatch.setenv("ICH_TRIAGE_OIDC__CLIENT_SECRET_FILE", str(tmp_path / "no such file"))
    assert "readable" in _doctor(config)["OpenID provider"]["remedy"]
    monkeypatch.delenv("ICH_TRIAGE_OIDC__CLIENT_SECRET_FILE")
    monkeypatch.setenv("ICH_TRIAGE_OIDC__ISSUER", f"http://127.0.0.1:{dead_port}")
    assert "check [oidc] issuer" in _doctor(config)["OpenID provider"]["remedy"]
