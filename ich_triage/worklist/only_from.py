"""Without TLS of our own, passwords and names come through the proxies that end it, or from this machine."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_REFUSAL = (
    "This address is served through a proxy over HTTPS alone: use the address that your admin gave you.\n"
)


class OnlyFrom:
    """ASGI middleware: refuses whoever connects from elsewhere, before forwarded addresses are believed."""

    def __init__(self, proxies: Sequence[str], app: ASGIApp) -> None:
        self._proxies = [ip_network(each) for each in proxies]
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http" or self._may(scope["client"][0] if scope.get("client") else ""):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(_REFUSAL, 403)(scope, receive, send)

    def _may(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in self._proxies)
