"""Secrets that browsers and programs show: 256 random bits, of which the database keeps the SHA-256 alone."""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32


def make(prefix: str = "") -> str:
    """A new secret, fit for a cookie, a header or a URL."""
    return prefix + secrets.token_urlsafe(_BYTES)


def digest(secret: str) -> str:
    """What is kept of it; with 256 random bits, no salt and no slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
