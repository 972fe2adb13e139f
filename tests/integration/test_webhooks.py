"""Webhooks travel to real web servers, whatever those do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ich_triage.store.database import Database
from tests.certificates import make_certificates
from tests.hooks import SECRET, HookServer
from tests.messages import delivering, desk, plan, rows, settings, states

Wait = Callable[..., None]


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has the secret of the destination `desk`."""
    monkeypatch.setenv("ICH_TRIAGE_WEBHOOK_SECRET_DESK", SECRET)


@pytest.mark.risk("R-123")
def test_a_webhook_is_signed_and_sent_once(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """A server that checks the signature with the library accepts it; the body is that of the outbox."""
    hooks = HookServer()
    with hooks.serve():
        using = settings(tmp_path, desk(hooks.url))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["sent"])
    ((identity, body),) = hooks.got
    assert identity == rows(sqlite)[0].sop_instance_uid
    assert body == (tmp_path / rows(sqlite)[0].path).read_bytes()
    assert hooks.bodies()[0]["data"]["accession_number"] == "A1"


def test_a_failing_webhook_is_tried_again_with_the_same_id(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """500, 429 and a redirect are retried: same id, same body, signed anew; no redirect is followed."""
    hooks = HookServer()
    hooks.statuses, hooks.headers = [500, 429, 302, 408], {"location": "/elsewhere"}
    with hooks.serve():
        using = settings(tmp_path, desk(hooks.url))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["sent"])
    assert len(hooks.got) == 5 and len(set(hooks.got)) == 1
    assert set(hooks.paths) == {"/hook"}
    assert rows(sqlite)[0].attempts == 5


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_a_webhook_that_is_not_wanted_is_dead_at_once(
    sqlite: Database, tmp_path: Path, wait_until: Wait, status: int
) -> None:
    """Trying again would change nothing: the dead letter says the status."""
    hooks = HookServer()
    hooks.statuses = [status]
    with hooks.serve():
        using = settings(tmp_path, desk(hooks.url))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: states(sqlite) == ["dead"])
    assert rows(sqlite)[0].last_error == f"answered with status {status}"
    assert len(hooks.got) == 1


def test_a_webhook_that_asks_for_time_gets_it(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Retry-After puts off the next attempt, up to the longest wait of the policy."""
    hooks = HookServer()
    hooks.statuses, hooks.headers = [503], {"retry-after": "3600"}
    with hooks.serve():
        using = settings(tmp_path, desk(hooks.url), backoff_max_s=60.0)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: rows(sqlite)[0].attempts == 1)
    due = rows(sqlite)[0].next_attempt_at
    assert due is not None and 40 < (due - datetime.now(UTC)).total_seconds() <= 60


def test_a_webhook_that_never_answers_is_seen(sqlite: Database, tmp_path: Path, wait_until: Wait) -> None:
    """Silence is a failed attempt with its reason; when the server answers, it is delivered."""
    hooks = HookServer()
    hooks.answers.clear()
    with hooks.serve():
        using = settings(tmp_path, desk(hooks.url), timeout_s=0.2)
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: rows(sqlite)[0].attempts >= 2, what="two attempts")
            assert rows(sqlite)[0].last_error == "no answer within 0.2 s"
            hooks.answers.set()
            wait_until(lambda: states(sqlite) == ["sent"])


def test_a_secret_can_come_later(
    sqlite: Database, tmp_path: Path, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one nothing is posted and the reason says where it belongs; with one it is, over TLS too."""
    monkeypatch.delenv("ICH_TRIAGE_WEBHOOK_SECRET_DESK")
    ours, path = make_certificates(tmp_path / "certificates"), tmp_path / "secret"
    hooks = HookServer(tls=ours.server())
    with hooks.serve():
        using = settings(tmp_path / "spool", desk(hooks.url, ca_file=ours.authority, secret_file=path))
        plan(sqlite, using)
        with delivering(using, sqlite):
            wait_until(lambda: rows(sqlite)[0].attempts >= 2, what="two attempts")
            assert str(path) in (rows(sqlite)[0].last_error or "")
            path.write_text(f"{SECRET}\n")
            wait_until(lambda: states(sqlite) == ["sent"])
    assert len(hooks.got) == 1
