"""Who is served without TLS of our own."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.responses import PlainTextResponse

from ich_triage.settings import Web
from ich_triage.worklist.only_from import OnlyFrom


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("10.1.2.3", 200),
        ("10.2.0.1", 403),
        ("127.0.0.1", 200),
        ("::1", 200),
        ("fd00::7", 200),
        ("testclient", 403),
    ],
)
@pytest.mark.risk("R-125")
def test_proxies_and_this_machine_alone(host: str, status: int) -> None:
    """Whoever else connects in clear is refused, and told where to go."""
    app = OnlyFrom(["10.1.0.0/16", "fd00::7"], PlainTextResponse("the list"))
    answer = TestClient(app, client=(host, 5)).get("/", headers={"X-Forwarded-For": "10.1.2.3"})
    assert answer.status_code == status
    assert ("the list" in answer.text) == (status == 200)


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("10.2.0.1", "/healthz", 200),
        ("10.2.0.1", "/readyz", 200),
        ("10.2.0.1", "/metrics", 403),
        ("10.3.0.1", "/metrics", 200),
        ("10.3.0.1", "/", 403),
    ],
)
def test_what_says_nothing_of_patients_can_be_asked_directly(host: str, path: str, status: int) -> None:
    """Health by anybody, metrics by listed addresses; the pages stay behind the proxy."""
    app = OnlyFrom(["10.1.0.0/16"], PlainTextResponse("told"), watchers=["10.3.0.0/16"])
    assert TestClient(app, client=(host, 5)).get(path).status_code == status


@pytest.mark.parametrize("proxy", ["*", "proxy.example", "10.0.0.1/8", ""])
def test_a_proxy_is_named_by_address(proxy: str) -> None:
    """Everybody, or a name that anybody could answer for, is no proxy."""
    with pytest.raises(ValidationError, match="neither an address nor a network"):
        Web(trusted_proxies=(proxy,))
