"""Connections to destinations of messages: over TLS the certificate is always checked."""

from __future__ import annotations

import ssl
from pathlib import Path

from ..errors import DeliveryError


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


def no_connection(where: str, error: OSError | UnicodeError) -> DeliveryError:
    """What to say when `where` could not be connected to, or has a certificate that is not trusted."""
    reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error
    return DeliveryError(f"no connection to {where} ({reason})")


def _no_password() -> str:
    """In the place of OpenSSL's prompt, which would wait for a person."""
    raise ValueError("the key is encrypted")
