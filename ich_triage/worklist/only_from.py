"""Without TLS of our own, passwords and names come through the proxies that end it, or from this machine."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..settings.base import is_among, is_loopback

_REFUSAL = (
    "This address is served through a proxy over HTTPS alone: use the address that your admin gave you.\n"
)
#: what says nothing of patients: whoever watches over the service may ask it directly
_HEALTH, _METRICS = ("/healthz", "/readyz"), "/metrics"


class OnlyFrom:
    """ASGI middleware: refuses whoever connects from elsewhere, before forwarded addresses are believed."""

    def __init__(self, proxies: Sequence[str], app: ASGIApp, *, watchers: Sequence[str] = ()) -> None:
        """`watchers` may ask for metrics."""
        self._proxies = proxies
        self._watchers = watchers
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        host = scope["client"][0] if scope.get("client") else ""
        if scope["type"] != "http" or self._may(host, scope["path"]):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(_REFUSAL, 403)(scope, receive, send)

    def _may(self, host: str, path: str) -> bool:
        if path in _HEALTH or (path == _METRICS and is_among(host, self._watchers)):
            return True
        return is_loopback(host) or is_among(host, self._proxies)
