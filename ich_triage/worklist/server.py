"""The web process: one HTTP server on a socket that is open before anything is promised."""

from __future__ import annotations

import socket
import threading
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ..settings import Web
from .only_from import OnlyFrom

log = structlog.get_logger(__name__)

#: what is still open so long after the end of the process was asked for is cut, s
_GRACE_S = 2


class WebServer:
    """uvicorn in a thread of its own, so that the process ends as the others do."""

    def __init__(self, settings: Web, app: FastAPI) -> None:
        self._settings = settings
        self._app = app
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        #: where it listens, once started
        self.port = settings.port

    @property
    def url(self) -> str:
        """Under which people reach it."""
        scheme = "https" if self._settings.tls_key else "http"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return self._settings.public_url or f"{scheme}://{host}:{self.port}"

    def start(self) -> None:
        """Listen and answer. Raises OSError where the address or the certificate cannot be used."""
        settings = self._settings
        config = uvicorn.Config(
            self._guarded(),
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
            proxy_headers=False,  # see `_guarded`
            timeout_graceful_shutdown=_GRACE_S,
        )
        config.load()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=256)
        # asyncio sets it where the socket names its protocol, which these do not. Without it the body of an
        # answer waits for the peer's delayed acknowledgement of the headers (RFC 896, RFC 1122 4.2.3.2)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="web", daemon=True)
        self._thread.start()
        log.info("web_listening", url=self.url)

    def _guarded(self) -> ASGIApp:
        """The application behind its proxies, where there are any."""
        settings = self._settings
        if not settings.trusted_proxies:
            return self._app
        app: Any = self._app  # uvicorn and starlette type the same protocol in ways of their own
        behind: Any = ProxyHeadersMiddleware(app, trusted_hosts=list(settings.trusted_proxies))
        if settings.tls_key:
            encrypted: ASGIApp = behind
            return encrypted
        watchers = self._app.state.parts.settings.metrics.allowed
        return OnlyFrom(settings.trusted_proxies, behind, watchers=watchers)

    def stop(self) -> None:
        """End open event streams, let answers on their way finish, end."""
        self._app.state.changes.end()
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join()
