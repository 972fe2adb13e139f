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
def test_proxies_and_this_machine_alone(host: str, status: int) -> None:
    """Whoever else connects in clear is refused, and told where to go."""
    app = OnlyFrom(["10.1.0.0/16", "fd00::7"], PlainTextResponse("the list"))
    answer = TestClient(app, client=(host, 5)).get("/", headers={"X-Forwarded-For": "10.1.2.3"})
    assert answer.status_code == status
    assert ("the list" in answer.text) == (status == 200)


@pytest.mark.parametrize("proxy", ["*", "proxy.example", "10.0.0.1/8", ""])
def test_a_proxy_is_named_by_address(proxy: str) -> None:
    """Everybody, or a name that anybody could answer for, is no proxy."""
    with pytest.raises(ValidationError, match="neither an address nor a network"):
        Web(trusted_proxies=(proxy,))
