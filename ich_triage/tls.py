"""TLS both ways: as it is opened to others, where certificates are always checked, and as it is served."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Lock

import structlog

from .errors import DeliveryError, SettingsError
from .settings import ClientTls, Listener

log = structlog.get_logger(__name__)

#: suites of TLS 1.2: forward secrecy and authenticated encryption alone (RFC 9325 section 4.2); TLS 1.3 has
#: no other
FORWARD_SECRET = "ECDHE+AESGCM:ECDHE+CHACHA20"

#: what tells one content of a file from another without reading it: device, inode, size, time of change
_Stamp = tuple[int, int, int, int] | None


class ClosingSocket(ssl.SSLSocket):
    """Can be shut down after the peer has left; pynetdicom would leave it open otherwise."""

    def shutdown(self, how: int) -> None:
        """End the connection, where it has not ended."""
        with suppress(OSError):
            super().shutdown(how)


def client_context(
    *, ca_file: Path | None, certificate_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """What a connection is opened with: TLS 1.2 or later, host name checked.

    Raises DeliveryError naming the file that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise DeliveryError(f"ca_file {ca_file} holds no certificates that can be read") from error
    if certificate_file:
        try:
            context.load_cert_chain(certificate_file, key_file, password=_no_password)
        except (OSError, ValueError) as error:
            files = f"{certificate_file} and {key_file}" if key_file else f"{certificate_file}"
            raise DeliveryError(f"{files} hold no certificate with its key, unencrypted, as PEM") from error
    return context


def dicom_client_context(files: ClientTls) -> ssl.SSLContext:
    """As `client_context`, with the suites of PS3.15 section B.12. Raises DeliveryError."""
    context = client_context(
        ca_file=files.ca_file, certificate_file=files.certificate_file, key_file=files.key_file
    )
    context.set_ciphers(FORWARD_SECRET)
    context.sslsocket_class = ClosingSocket
    return context


def no_connection(where: str, error: OSError | UnicodeError) -> DeliveryError:
    """What to say when `where` could not be connected to, or has a certificate that is not trusted."""
    return DeliveryError(f"no connection to {where} ({why(error)})")


def why(error: OSError | ValueError) -> str:
    """Why there is no connection, in a few words."""
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    words = getattr(error, "verify_message", "") or getattr(error, "reason", "")
    return str(words or getattr(error, "strerror", "") or error or type(error).__name__)


class ServerTls:
    """The serving side of one listener. Files that change are taken for new connections. Any thread."""

    def __init__(self, listener: Listener) -> None:
        """Read the files. Raises SettingsError naming those that cannot be used."""
        if listener.tls_certificate is None:
            raise SettingsError("there is no tls_certificate to serve TLS with")
        self._certificate, self._key = listener.tls_certificate, listener.tls_key
        self._client_ca = listener.tls_client_ca
        self._lock = Lock()
        self._stamps = self._look()
        self._context = self._read()

    def wrap(self, accepted: socket.socket, *, timeout_s: float) -> ssl.SSLSocket:
        """Do the handshake, which may take so long in all. Raises OSError, of which TimeoutError is one."""
        wrapped = self.context().wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        try:
            wrapped.settimeout(timeout_s)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def context(self) -> ssl.SSLContext:
        """For one more connection; of the old files where the new ones cannot be used."""
        with self._lock:
            stamps = self._look()
            if stamps != self._stamps:
                # looked at before it is read: what changes meanwhile is read again at the next connection
                self._stamps = stamps
                try:
                    self._context = self._read()
                except SettingsError as error:
                    log.error("certificate_not_taken", reason=f"{error}; until then the one before is used")
                else:
                    log.info("certificate_taken", file=str(self._certificate))
            return self._context

    def _look(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(each) for each in (self._certificate, self._key, self._client_ca))

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslsocket_class = ClosingSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(FORWARD_SECRET)
        # a resumed session would not look at the peer's certificate again, which may have expired since
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            files = f"{self._certificate} and {self._key}" if self._key else f"{self._certificate}"
            raise SettingsError(
                f"{files} cannot be used ({why(error)}): a certificate with the key that fits it, "
                "unencrypted, as PEM, must be there; mend it, or tls_certificate and tls_key"
            ) from error
        if self._client_ca:
            try:
                context.load_verify_locations(self._client_ca)
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"{self._client_ca} cannot be used ({why(error)}): certificates of authorities, as PEM, "
                    "must be there; mend it, or tls_client_ca"
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def certificate_names(connection: socket.socket | None) -> frozenset[str]:
    """Common name and subject alternative names (DNS, IP) of the peer's verified certificate; else none."""
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not certificate:
        return frozenset()
    subject = [pair for relative in certificate.get("subject", ()) for pair in relative]
    pairs = [*subject, *certificate.get("subjectAltName", ())]
    return frozenset(str(value) for kind, value in pairs if kind in ("commonName", "DNS", "IP Address"))


def served_until(listener: Listener) -> datetime:
    """When our own certificate ends. Raises SettingsError where the files cannot be served."""
    from cryptography import x509  # takes longer to load than most commands to run

    ServerTls(listener)
    content = Path(str(listener.tls_certificate)).read_bytes()
    return x509.load_pem_x509_certificate(content).not_valid_after_utc


def answers(host: str, port: int, *, timeout_s: float) -> None:
    """Whether TLS is spoken there; it is not looked at who that is. Raises OSError."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        context.wrap_socket(connection, server_hostname=host).close()


def _stamp(path: Path | None) -> _Stamp:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found else None


def _no_password() -> str:
    """In the place of OpenSSL's prompt, which would wait for a person."""
    raise ValueError("the key is encrypted")
