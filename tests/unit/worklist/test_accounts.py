"""Log-in, log-out, passwords and the first admin, as a browser sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from statistics import median

import argon2
import pytest
import sqlalchemy as sa
import structlog
from fastapi.testclient import TestClient

from ich_triage.domain.roles import Role
from ich_triage.store import accounts, first_admin, tokens
from ich_triage.store.account_tables import Account, Audit
from ich_triage.store.database import Database
from ich_triage.worklist.links import path_of
from tests.web import PASSWORD, add_account, browser, csrf_token, log_in

OTHER = "quite another few words"


@pytest.fixture
def client(sqlite: Database) -> Iterator[TestClient]:
    """A browser on an application with a radiologist `reader`."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    with browser(sqlite) as client:
        yield client


def _records(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        return [(each.event, each.actor) for each in session.scalars(sa.select(Audit).order_by(Audit.id))]


@pytest.mark.risk("R-105")
def test_a_failed_login_says_the_same_whoever_is_asked_for(client: TestClient, sqlite: Database) -> None:
    """The answer tells no stranger which accounts there are; the records tell the admin."""
    add_account(sqlite, "former", Role.RADIOLOGIST)
    with sqlite.write() as session:
        accounts.set_disabled(session, accounts.get(session, "former"), disabled=True)
    answers = [
        log_in(client, "reader", "wrong password"),
        log_in(client, "nobody at all"),
        log_in(client, "former"),
        log_in(client, "reader\x00"),
        log_in(client, "", ""),
        client.post("/login"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert 'role="alert"' in answers[0].text and "ask an admin" in answers[0].text
    assert _records(sqlite) == [("login_failed", name) for name in ("reader", "", "former", "", "", "")]


def test_an_unknown_name_takes_as_long_as_a_wrong_password(client: TestClient) -> None:
    """The hash is computed in both cases; without it, the answer would come twenty times as quickly."""

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        log_in(client, name, "wrong password")
        return time.perf_counter() - begun

    known, unknown = zip(*((seconds("reader"), seconds("nobody")) for _ in range(4)), strict=True)
    assert 0.2 < median(unknown) / median(known) < 5


@pytest.mark.risk("R-105")
def test_too_many_failures_are_answered_with_when_to_try_again(client: TestClient, sqlite: Database) -> None:
    """Guessing is slow; another person at the same address, and another address, go on."""
    add_account(sqlite, "colleague", Role.RADIOLOGIST)
    for _ in range(5):
        assert log_in(client, "reader", "wrong password").status_code == 401
    limited = log_in(client, "reader")
    assert limited.status_code == 429
    assert 0 < int(limited.headers["retry-after"]) <= 300
    assert "Try again in" in limited.text
    assert log_in(client, "colleague").status_code == 303
    with TestClient(client.app, client=("192.0.2.7", 4711), follow_redirects=False) as elsewhere:
        assert log_in(elsewhere, "reader").status_code == 303


def test_one_address_has_so_many_failures_whatever_the_names(client: TestClient, sqlite: Database) -> None:
    """Trying one password on many names is slow as well; who goes on all the same is on record once."""
    statuses = [log_in(client, f"name {number}", "wrong password").status_code for number in range(33)]
    assert statuses == [401] * 30 + [429] * 3
    assert [event for event, _ in _records(sqlite)].count("login_limited") == 1


def _weaken(database: Database) -> str:
    """Keep the password of `reader` under parameters that are quick."""
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with database.write() as session:
        accounts.get(session, "reader").password_hash = weak
    return weak


def test_strangers_do_not_shut_a_person_out_at_home(client: TestClient, sqlite: Database) -> None:
    """Failures from many addresses slow guessing down, not the person at the usual workstation."""
    assert log_in(client, "reader").status_code == 303
    _weaken(sqlite)
    for number in range(50):
        with TestClient(client.app, client=(f"192.0.2.{number}", 1), follow_redirects=False) as stranger:
            assert log_in(stranger, "reader", "wrong password").status_code == 401
    with TestClient(client.app, client=("198.51.100.1", 1), follow_redirects=False) as stranger:
        assert log_in(stranger, "reader").status_code == 429
    assert log_in(client, "reader").status_code == 303


def test_a_weak_hash_is_renewed_at_login(client: TestClient, sqlite: Database) -> None:
    """Nobody has to do anything when the parameters are raised."""
    weak = _weaken(sqlite)
    assert log_in(client, "reader").status_code == 303
    with sqlite.read() as session:
        kept = accounts.get(session, "reader").password_hash
    assert kept != weak
    assert log_in(client, "reader").status_code == 303


@pytest.mark.parametrize(
    "then",
    [
        "//evil.example",
        "https:evil.example",
        "https:///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%0a//evil".replace("%0a", "\n"),
        "javascript:alert(1)",
        "http://[evil",
        " //evil.example",
        "/" + "a" * 5000,
        "//",
        "",
    ],
)
def test_after_login_nobody_is_sent_to_another_site(client: TestClient, then: str) -> None:
    """A link that looks like ours leads nowhere else after the log-in."""
    answer = client.post("/login", data={"name": "reader", "password": PASSWORD, "next": then})
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("then", ["/", "/studies/1.2.3", "/?state=flagged&page=2"])
def test_after_login_the_page_comes_that_was_wanted(client: TestClient, then: str) -> None:
    """Who was logged out in the middle of something goes on there."""
    page = client.get("/login", params={"next": then}).text
    assert f'name="next" value="{then.replace("&", "&amp;")}"' in page
    answer = client.post("/login", data={"name": "reader", "password": PASSWORD, "next": then})
    assert answer.headers["location"] == then
    assert client.get("/login", params={"next": then}).headers["location"] == then


def test_of_a_whole_address_only_the_path_is_used() -> None:
    """What htmx says about the page it is on has our own host in it, or a forged one."""
    assert path_of("https://evil.example/studies/1.2.3?x=1") == "/studies/1.2.3?x=1"
    assert path_of("https://evil.example") == "/"
    assert path_of("http://[evil") == "/"


@pytest.mark.risk("R-107")
def test_what_is_typed_comes_back_escaped(client: TestClient) -> None:
    """A page never runs what came with the request."""
    page = client.get("/login", params={"next": "/<script>alert(1)</script>"}).text
    assert "<script>alert" not in page


def test_another_password_logs_out_every_other_browser(client: TestClient) -> None:
    """Who changes the password after a loss goes on here, and nobody elsewhere."""
    log_in(client, "reader")
    with TestClient(client.app, follow_redirects=False) as elsewhere:
        log_in(elsewhere, "reader")
        form = {"csrf_token": csrf_token(client.get("/account").text), "current": PASSWORD}
        wrong = (
            {"current": "wrong password", "password": OTHER, "repeat": OTHER},
            {"password": "short", "repeat": "short"},
            {"password": OTHER, "repeat": OTHER + "!"},
        )
        for given in wrong:
            refused = client.post("/account/password", data=form | given)
            assert refused.status_code == 400
            assert 'role="alert"' in refused.text
        answer = client.post("/account/password", data=form | {"password": OTHER, "repeat": OTHER})
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert client.get("/account").status_code == 200
        assert elsewhere.get("/account").status_code == 303
        assert log_in(elsewhere, "reader").status_code == 401
        assert log_in(elsewhere, "reader", OTHER).status_code == 303


def _link(database: Database) -> str:
    with database.write() as session:
        secret = first_admin.renew(session, datetime.now(UTC))
    assert secret
    return secret


def test_the_first_admins_link_makes_one_admin_who_is_logged_in(sqlite: Database) -> None:
    """From an empty database to the list of users without a command."""
    secret = _link(sqlite)
    form = {"secret": secret, "name": "chief", "password": PASSWORD, "repeat": PASSWORD}
    with browser(sqlite) as client:
        assert client.get("/first-admin", params={"secret": "guessed"}).status_code == 403
        assert f'value="{secret}"' in client.get("/first-admin", params={"secret": secret}).text
        refused = client.post("/first-admin", data=form | {"name": "<b>", "password": "x", "repeat": "x"})
        assert refused.status_code == 400
        assert "&lt;b&gt;" in refused.text
        assert client.post("/first-admin", data=form).headers["location"] == "/"
        assert client.get("/users").status_code == 200
        again = client.post("/first-admin", data=form | {"name": "thief"})
        assert again.status_code == 403
        assert "users add NAME --role admin" in again.text
    assert _records(sqlite) == [("account_added", ""), ("login_succeeded", "chief")]


def test_two_browsers_behind_the_link_make_one_admin(sqlite: Database) -> None:
    """The race has one winner, and the other is told."""
    form = {"secret": _link(sqlite), "password": PASSWORD, "repeat": PASSWORD}
    with browser(sqlite) as client, ThreadPoolExecutor(3) as pool:
        post = lambda name: client.post("/first-admin", data=form | {"name": name}).status_code  # noqa: E731
        statuses = sorted(pool.map(post, ("one", "two", "three")))
    assert statuses[0] == 303
    assert set(statuses[1:]) <= {400, 403}
    with sqlite.read() as session:
        assert len(accounts.everybody(session)) == 1


@pytest.mark.risk("R-112")
def test_no_log_line_has_a_password_a_token_or_a_cookie(client: TestClient, sqlite: Database) -> None:
    """What a log collector keeps opens no door."""
    with sqlite.write() as session:
        token = tokens.make(session, "dashboard", days=1, now=datetime.now(UTC))
    secret = _link(sqlite)
    with structlog.testing.capture_logs() as lines:
        log_in(client, "reader")
        cookie = client.cookies["ich_session"]
        log_in(client, "my password by mistake", "wrong password")
        client.get("/account", headers={"authorization": f"Bearer {token}"})
        client.get("/account", headers={"authorization": f"Bearer {token}x"})
        client.get("/first-admin", params={"secret": secret})
        client.post("/logout", headers={"sec-fetch-site": "cross-site"})
        form = {"secret": secret, "name": "chief", "password": OTHER, "repeat": OTHER}
        client.post("/first-admin", data=form)
    told = repr(lines)
    assert {"login_succeeded", "login_failed", "token_refused", "account_added"} <= {
        line["event"] for line in lines
    }
    for hidden in (PASSWORD, OTHER, "by mistake", "wrong password", token, secret, cookie):
        assert hidden not in told


def test_an_account_of_another_provider_has_no_password_here(client: TestClient, sqlite: Database) -> None:
    """Its page says where to change it, and the form does nothing."""
    with sqlite.write() as session:
        account = Account(name="guest", role=Role.RADIOLOGIST, issuer="https://id.example", subject="1")
        accounts.add(session, account, now=datetime.now(UTC))
    assert log_in(client, "guest", "").status_code == 401
