"""A syslog server for tests: takes messages by UDP, TCP or TLS, as RFC 5426, 6587 and 5425 frame them."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

LOOPBACK = "127.0.0.1"
#: RFC 5424 section 6, as far as we write it
SYSLOG = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<at>\S+) (?P<host>\S+) (?P<app>\S+) (?P<pid>\S+) (?P<msgid>\S+) - "
    rb"\xef\xbb\xbf(?P<xml>.*)",
    re.DOTALL,
)


class Syslogd:
    """What a server has heard."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        #: every message, in order
        self.heard: list[bytes] = []
        #: while it is clear, nothing is read
        self.reads = Event()
        self.reads.set()
        self._tls = tls
        self.port = 0

    @contextmanager
    def by_udp(self) -> Iterator[Syslogd]:
        """Listen for datagrams until the block ends."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind((LOOPBACK, 0))
            self.port = listener.getsockname()[1]
            listener.settimeout(0.05)
            yield from self._until_left(lambda: self.heard.append(listener.recv(65_535)))

    @contextmanager
    def by_tcp(self, port: int = 0) -> Iterator[Syslogd]:
        """Take connections until the block ends; TLS where a context was given."""
        with socket.create_server((LOOPBACK, port)) as listener:
            self.port = listener.getsockname()[1]
            listener.settimeout(0.05)
            yield from self._until_left(lambda: self._talk(listener.accept()[0]))

    def _until_left(self, turn: object) -> Iterator[Syslogd]:
        self._left = Event()

        def serve() -> None:
            while not self._left.is_set():
                with suppress(TimeoutError):
                    turn()  # type: ignore[operator]

        thread = Thread(target=serve)
        thread.start()
        try:
            yield self
        finally:
            self._left.set()
            self.reads.set()
            thread.join()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with suppress(ssl.SSLError, OSError):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            connection.settimeout(0.05)
            self._read(connection)
        connection.close()

    def _read(self, connection: socket.socket) -> None:
        """Octet counting: a length, a space, so many bytes."""
        pending = b""
        while not self._left.is_set():
            self.reads.wait()
            try:
                data = connection.recv(65_536)
            except TimeoutError:
                continue
            if not data:
                return
            pending += data
            while (found := re.match(rb"(\d+) ", pending)) and len(pending) >= found.end() + int(found[1]):
                end = found.end() + int(found[1])
                self.heard.append(pending[found.end() : end])
                pending = pending[end:]
