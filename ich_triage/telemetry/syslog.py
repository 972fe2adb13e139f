"""Audit messages to a syslog server: RFC 5424 by TLS (RFC 5425), TCP (RFC 6587) or UDP (RFC 5426)."""

from __future__ import annotations

import os
import socket
import ssl

from ..errors import SettingsError
from ..settings import Audit
from ..settings.watching import SYSLOG_PORTS
from .audit_message import MINOR_FAILURE, SERIOUS_FAILURE, SUCCESS, Message

#: security and authorization messages (RFC 5424 Table 1), as PS3.15 section A.6 wants
_FACILITY = 10
#: notice, warning, error, critical (RFC 5424 Table 2) by EventOutcomeIndicator
_SEVERITY = {SUCCESS: 5, MINOR_FAILURE: 4, SERIOUS_FAILURE: 3, 12: 2}
_MSGID = "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"
#: time to connect and to take a message, s
_TIMEOUT_S = 5.0


def framed(message: Message) -> bytes:
    """A SYSLOG-MSG (RFC 5424 section 6)."""
    priority = _FACILITY * 8 + _SEVERITY[message.outcome]
    at, host = message.at.isoformat(timespec="milliseconds"), socket.gethostname()[:255] or "-"
    head = f"<{priority}>1 {at} {host} ich-triage {os.getpid()} {_MSGID} - "
    return head.encode("ascii", "replace") + _BOM + message.xml


class Syslog:
    """One server. One thread uses it."""

    def __init__(self, settings: Audit) -> None:
        """Raises SettingsError when a file of the certificate cannot be used."""
        address = settings.syslog_address
        self._way = address.scheme
        self._where = (address.hostname or "", address.port or SYSLOG_PORTS[self._way])
        self._context = _context(settings) if self._way == "tls" else None
        self._connection: socket.socket | None = None

    def send(self, message: Message) -> None:
        """Send one message. Raises OSError.

        None of the three ways acknowledges: what the network had taken when the server died is lost.
        """
        data = framed(message)
        if self._way == "udp":
            self._send_datagram(data)
            return
        if self._connection is None or _is_closed(self._connection):
            self.close()
            self._connection = self._connect()
        try:
            self._connection.sendall(b"%d %s" % (len(data), data))
        except OSError:
            self.close()
            raise

    def check(self) -> None:
        """Whether somebody takes connections; by UDP, whether there is such a host. Raises OSError."""
        if self._way == "udp":
            socket.getaddrinfo(*self._where, type=socket.SOCK_DGRAM)
        else:
            self._connect().close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _send_datagram(self, data: bytes) -> None:
        family, kind, protocol, _, where = socket.getaddrinfo(*self._where, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sender:
            sender.sendto(data, where)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._where, timeout=_TIMEOUT_S)
        if self._context is None:
            return connection
        try:
            return self._context.wrap_socket(connection, server_hostname=self._where[0])
        except OSError:
            connection.close()
            raise


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server has gone: syslog servers say nothing, so that there is nothing to read till then."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(_TIMEOUT_S)


def _context(settings: Audit) -> ssl.SSLContext:
    """TLS 1.2 or later, host name checked."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"[audit] ca_file {settings.ca_file} holds no certificates to read") from error
    if settings.certificate_file:
        try:
            context.load_cert_chain(settings.certificate_file, settings.key_file, password=_no_password)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"[audit] certificate_file {settings.certificate_file} and key_file hold no certificate with "
                "its key, unencrypted, as PEM"
            ) from error
    return context


def _no_password() -> str:
    """In the place of OpenSSL's prompt, which would wait for a person."""
    raise ValueError("the key is encrypted")
