"""`/metrics`, `/healthz` and `/readyz` of the processes that have no pages: a small HTTP server in each."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread

import structlog
from prometheus_client import CollectorRegistry

from ..settings import Metrics
from ..settings.base import is_among
from .metrics import encode
from .readiness import Readiness

log = structlog.get_logger(__name__)

#: silence after which a connection is closed, s
_SILENCE_S = 5.0


class Probes:
    """The server of one process. It says nothing of patients, and asks nobody who they are."""

    def __init__(
        self, settings: Metrics, port: int, *, registry: CollectorRegistry, readiness: Readiness
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._readiness = readiness
        self._server: _Server | None = None
        #: where it listens, once started
        self.port = port

    def start(self) -> None:
        """Listen. A port that cannot be had is told in the log: no scanner waits for somebody who watches."""
        where = (self._settings.host, self.port)
        try:
            self._server = _Server(where, self._handler())
        except OSError as error:
            log.error("metrics_not_served", host=where[0], port=where[1], reason=error.strerror)
            return
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, name="probes", daemon=True).start()
        log.info("metrics_served", host=where[0], port=self.port)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, path: str, host: str, accept: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        if path == "/healthz":
            return 200, "application/json", b'{"alive": true}'
        if path == "/readyz":
            ready, checks = self._readiness.ask()
            told = json.dumps({"ready": ready, "checks": checks}).encode()
            return 200 if ready else 503, "application/json", told
        if path != "/metrics":
            return 404, "text/plain", b"there is /metrics, /healthz and /readyz\n"
        if not is_among(host, self._settings.allowed):
            return 403, "text/plain", b"this address is not in [metrics] allowed\n"
        body, media_type = encode(self._registry, accept)
        return 200, media_type, body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            timeout = _SILENCE_S

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                host = str(self.client_address[0])
                status, media_type, body = answer(path, host, self.headers.get("accept", ""))
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: somebody asks every few seconds."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Without the library's question to the name service, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news, and the library would print a traceback."""
