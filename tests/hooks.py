"""A web server that takes webhooks: checks each signature with the library, and answers as a test says."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from standardwebhooks import Webhook

LOOPBACK = "127.0.0.1"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class HookServer:
    """What a receiver of webhooks has got; a request with a wrong signature is answered 401."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        #: id and body of every request with a good signature, in order, repeated ones too
        self.got: list[tuple[str, bytes]] = []
        #: paths of all requests
        self.paths: list[str] = []
        #: statuses of the next answers; then 204
        self.statuses: list[int] = []
        #: headers of its answers
        self.headers: dict[str, str] = {}
        #: while it is clear, no request is answered
        self.answers = Event()
        self.answers.set()
        self._tls = tls
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}/hook"

    def bodies(self) -> list[Any]:
        """The distinct bodies, parsed."""
        return [json.loads(body) for body in dict.fromkeys(body for _, body in self.got)]

    @contextmanager
    def serve(self) -> Iterator[HookServer]:
        """Listen until the block ends."""
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                ours.answers.wait(30)
                status = ours.take(self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in ours.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        server.daemon_threads = True
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        self.port = server.server_port
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.answers.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Note one request; returns the status that answers it."""
        self.paths.append(path)
        # broad, since the library raises several kinds on what is not well signed
        try:
            Webhook(SECRET).verify(body, headers)
        except Exception:  # noqa: BLE001
            return 401
        identity = next(value for name, value in headers.items() if name.lower() == "webhook-id")
        self.got.append((identity, body))
        return self.statuses.pop(0) if self.statuses else 204
