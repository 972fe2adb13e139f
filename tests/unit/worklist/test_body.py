"""Requests that are too large or malformed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from ich_triage.domain.roles import Role
from ich_triage.store.database import Database
from tests.web import PASSWORD, add_account, browser

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def client(sqlite: Database) -> Iterator[TestClient]:
    """A browser on an application with a radiologist `reader`."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    with browser(sqlite) as client:
        yield client


def test_a_request_that_announces_too_much_is_refused_unread(client: TestClient) -> None:
    """64 KiB pass, a byte more does not."""
    form = f"name=reader&password={PASSWORD}&next="
    fits = form + "a" * (64 * 1024 - len(form))
    assert client.post("/login", content=fits, headers=FORM).status_code == 303
    refused = client.post("/login", content=fits + "a", headers=FORM)
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/problem+json")
    assert "64 KiB" in refused.json()["detail"]


def test_a_request_that_announces_nothing_is_cut_off(client: TestClient) -> None:
    """A body without end is not kept in memory to the end."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b"a" * 1024

    refused = client.post("/login", content=endless(), headers=FORM)
    assert refused.status_code == 413
    assert refused.headers["content-security-policy"]


@pytest.mark.parametrize("length", ["-1", "x", "9" * 40])
def test_an_absurd_length_is_refused(client: TestClient, length: str) -> None:
    """What is no length is not waited for."""
    assert client.post("/login", content=b"", headers=FORM | {"content-length": length}).status_code == 413


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xfe\x00%%%=&&&==", "application/x-www-form-urlencoded"),
        (b"name=" + b"%00" * 50, "application/x-www-form-urlencoded"),
        (b"&" * 3000, "application/x-www-form-urlencoded"),
        (b"no boundary", "multipart/form-data"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b'{"name": "reader"', "application/json"),
        (b"[]", "text/plain"),
    ],
)
def test_a_malformed_form_is_refused(client: TestClient, content: bytes, kind: str) -> None:
    """Whatever is sent in place of the form, the answer is that it cannot be used."""
    assert 400 <= client.post("/login", content=content, headers={"content-type": kind}).status_code < 500
