"""Webhooks: signed JSON by HTTP POST, after the Standard Webhooks specification (headers `webhook-…`)."""

from __future__ import annotations

import base64
import os
import socket
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook

from ..errors import DeliveryError
from ..settings import WebhookDestination
from ..tls import client_context, no_connection
from .link import Answer, Outcome, cleaned

#: statuses of the 400s that pass: request time-out, too early, too many requests (RFC 9110, 8470, 6585)
_PASSING = frozenset({408, 425, 429})
#: shortest key that the specification allows
_KEY_BYTES = 24


class WebhookLink:
    """A client for one URL; closed at the end of its `with` block."""

    def __init__(self, destination: WebhookDestination, *, timeout_s: float) -> None:
        """Raises DeliveryError when secret or certificates cannot be used."""
        self._url = destination.url
        self._timeout_s = timeout_s
        self._signer = _signer(destination)
        self._open = True
        self._client = httpx.Client(
            verify=client_context(ca_file=destination.ca_file),
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,  # what is configured decides where results go, not a proxy of the environment
        )

    @property
    def is_open(self) -> bool:
        """False once there was no answer: the next would only wait as long."""
        return self._open

    def __enter__(self) -> Self:
        """Itself; each message opens its connection."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what is open."""
        self._client.close()

    def send(self, uid: str, content: bytes) -> Answer:
        """Post one message, signed now; the answer's body is not read."""
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": uid,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(uid, now, content.decode("ascii")),
        }
        try:
            with self._client.stream("POST", self._url, content=content, headers=headers) as response:
                return read_status(response.status_code, response.headers.get("retry-after", ""))
        except httpx.TimeoutException:
            said, words = f"no answer within {self._timeout_s:g} s", ""
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said, words = f"no answer ({type(error).__name__})", cleaned(str(error))
        self._open = False
        return Answer(outcome=Outcome.AGAIN, said=said, words=words)


def read_status(status: int, retry_after: str) -> Answer:
    """What follows from an HTTP status and the seconds of Retry-After, where it gives seconds (RFC 9110)."""
    said = f"answered with status {status}"
    if 200 <= status < 300:
        return Answer(outcome=Outcome.ACCEPTED, said=said)
    if 400 <= status < 500 and status not in _PASSING:
        return Answer(outcome=Outcome.NEVER, said=said)
    wait_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    return Answer(outcome=Outcome.AGAIN, said=said, wait_s=wait_s)


def check(destination: WebhookDestination, *, timeout_s: float) -> None:
    """Raise DeliveryError unless secret and certificates can be used and the host answers; posts nothing."""
    _signer(destination)
    context = client_context(ca_file=destination.ca_file)
    host, port = destination.address
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            if urlsplit(destination.url).scheme == "https":
                context.wrap_socket(connection, server_hostname=host).close()
    except (OSError, UnicodeError) as error:
        raise no_connection(f"{host}:{port}", error) from error


def _signer(destination: WebhookDestination) -> Webhook:
    """From the secret as it is now, so that a changed one holds without a restart."""
    if destination.secret_file:
        where = f"secret_file {destination.secret_file}"
        try:
            secret = destination.secret_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise DeliveryError(f"{where} cannot be read") from error
    else:
        where = f"environment variable {destination.secret_variable}"
        secret = os.environ.get(destination.secret_variable, "").strip()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise DeliveryError(f"{where} holds no secret: whsec_ and at least {_KEY_BYTES} bytes as base64")
    return Webhook(key)
