"""Webhooks: which status does what, and where the secret comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_triage.errors import DeliveryError
from ich_triage.outputs.link import Outcome
from ich_triage.outputs.webhook import WebhookLink, read_status
from ich_triage.settings import WebhookDestination
from tests.hooks import SECRET

VARIABLE = "ICH_TRIAGE_WEBHOOK_SECRET_THE_DESK"


def desk(secret_file: Path | None = None) -> WebhookDestination:
    """A destination with a dash in its name."""
    return WebhookDestination(
        kind="webhook", name="the-desk", url="https://desk.example/hook", secret_file=secret_file
    )


@pytest.mark.parametrize(
    ("outcome", "statuses"),
    [
        (Outcome.ACCEPTED, (200, 201, 202, 204)),
        (Outcome.AGAIN, (301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 504)),
        (Outcome.NEVER, (400, 401, 403, 404, 405, 410, 413, 422)),
    ],
)
def test_the_status_decides(outcome: Outcome, statuses: tuple[int, ...]) -> None:
    """Success, a passing trouble, or a refusal that another attempt would not change."""
    assert {read_status(each, "").outcome for each in statuses} == {outcome}


@given(st.text())
def test_retry_after_is_seconds_or_nothing(text: str) -> None:
    """Whatever a server writes there is read, and never negative."""
    assert read_status(503, text).wait_s >= 0
    assert read_status(503, "120").wait_s == 120


def test_the_secret_is_in_a_file_or_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file goes before the variable; each alone is enough."""
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "secret").write_text(SECRET + "\n")
    WebhookLink(desk(tmp_path / "secret"), timeout_s=1)
    monkeypatch.setenv(VARIABLE, SECRET)
    WebhookLink(desk(), timeout_s=1)


@pytest.mark.parametrize(
    "content", ["", "whsec_", "whsec_!", "whsec_c2hvcnQ=", "correct horse battery staple"]
)
def test_what_is_no_secret_is_said_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """An empty, malformed or short secret never signs anything."""
    monkeypatch.setenv(VARIABLE, content)
    with pytest.raises(DeliveryError, match=f"{VARIABLE} holds no secret: whsec_ and at least 24 bytes"):
        WebhookLink(desk(), timeout_s=1)
    (tmp_path / "secret").write_text(content)
    with pytest.raises(DeliveryError, match=r"secret_file .* holds no secret"):
        WebhookLink(desk(tmp_path / "secret"), timeout_s=1)


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which file it is."""
    with pytest.raises(DeliveryError, match=r"secret_file .*missing cannot be read"):
        WebhookLink(desk(tmp_path / "missing"), timeout_s=1)
