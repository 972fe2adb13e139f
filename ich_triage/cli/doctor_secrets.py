"""What `ich-triage doctor` sees of secrets: whether others on this machine can read them."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ..settings import Settings
from .findings import Finding, ok, warning

#: keys that name a file with a secret in it
FILES = frozenset({"password_file", "client_secret_file", "secret_file", "key_file", "tls_key"})
#: key of a certificate's file → key of its private key's, without which the first holds both
_KEY_OF = {"certificate_file": "key_file", "tls_certificate": "tls_key"}


def look_at_secrets(loaded: Settings, config: Path | None) -> Iterator[Finding]:
    """Every file that holds one, the configuration too where it does."""
    files = set(secret_files(loaded))
    if config and _holds_one(config):
        files.add(config)
    exposed = sorted(path for path in files if path.exists() and path.stat().st_mode & stat.S_IROTH)
    for path in exposed:
        yield warning(
            "secrets",
            seen=f"every user of this machine can read {path}, which holds a secret",
            remedy=f"`chmod o-r {path}`, give it to the service's user, and change the secret if it may have "
            "been read",
        )
    if files and not exposed:
        yield ok("secrets", f"{len(files)} files, none of which every user of this machine can read")


def secret_files(section: BaseModel) -> Iterator[Path]:
    """Files with a secret that a section names, and those below it."""
    values = dict(section)
    for key, value in values.items():
        if isinstance(value, BaseModel):
            yield from secret_files(value)
        elif isinstance(value, tuple):
            for each in value:
                if isinstance(each, BaseModel):
                    yield from secret_files(each)
        elif isinstance(value, Path) and (key in FILES or (key in _KEY_OF and not values[_KEY_OF[key]])):
            yield value


def _holds_one(config: Path) -> bool:
    """Whether the file itself has a secret in it."""
    values = tomllib.loads(config.read_text(encoding="utf-8"))
    try:
        password = make_url(values.get("database", {}).get("url", "sqlite://")).password
    except (ArgumentError, ValueError):
        password = None  # it is overridden by the environment, else the service had not come so far
    return bool(password or values.get("oidc", {}).get("client_secret"))
