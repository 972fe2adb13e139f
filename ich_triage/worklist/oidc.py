"""What an OpenID Connect provider says about a person (OpenID Connect Core 1.0, code flow with PKCE).

authlib does the protocol. Every log-in asks the provider anew for its addresses and keys, so that keys may
change at any time and nothing has to be shared among web processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from fastapi import Request
from joserfc.errors import JoseError

from ..domain.roles import Role
from ..errors import LoginError
from ..settings import Oidc

log = structlog.get_logger(__name__)

#: signatures by the provider's own key; `none`, and secrets that we know too, prove nothing (RFC 8725 3.2)
_SIGNATURES = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
#: patience with the provider, s
_TIMEOUT_S = 10.0
#: clocks of two machines may differ by so much, s
_LEEWAY_S = 60
#: what a peer that does not keep to the standard makes the libraries raise
_WRONG = (
    AuthlibBaseError,
    JoseError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    AttributeError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody for whom the provider vouches."""

    #: the provider
    issuer: str
    #: identifier there, which never changes
    subject: str
    #: name under which the person is to be known here
    name: str
    #: what the person's groups allow
    role: Role


class Provider:
    """One provider, as the settings name it."""

    def __init__(self, settings: Oidc) -> None:
        self._settings = settings
        self._secret = settings.secret()

    async def address(self, request: Request, back: str) -> str:
        """Where to send the browser, which the provider then sends to our URL `back`. Raises LoginError.

        What must come back is put into the request's session.
        """
        with self._in_words("it does not answer as it should"):
            client = await self._client()
            answer = await client.authorize_redirect(request, back)
            return str(answer.headers["location"])

    async def person(self, request: Request) -> Person:
        """Who came back, from the request and its session. Raises LoginError."""
        wanted = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
            "sub": {"essential": True},
            "nonce": {"essential": True},
        }
        with self._in_words("what it says about you was not accepted"):
            client = await self._client()
            token = await client.authorize_access_token(request, claims_options=wanted, leeway=_LEEWAY_S)
            claims = dict(token["userinfo"])
        return self._read(claims)

    async def _client(self) -> Any:
        settings = self._settings
        client = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=self._secret or None,
            server_metadata_url=settings.issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(settings.scopes),
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT_S,
            },
        )
        told = await client.load_server_metadata()
        if told["issuer"] != settings.issuer:
            raise ValueError("the provider calls itself otherwise than [oidc] issuer")
        offered = told.get("id_token_signing_alg_values_supported") or ["RS256"]
        told["id_token_signing_alg_values_supported"] = [each for each in offered if each in _SIGNATURES]
        return client

    def _read(self, claims: dict[str, Any]) -> Person:
        name = claims.get(self._settings.name_claim)
        if not isinstance(name, str) or not name.strip():
            raise LoginError(
                f"{self._settings.issuer} does not say what you are called: ask an admin to set [oidc] "
                "name_claim"
            )
        groups = _claim(claims, self._settings.role_claim)
        held = groups if isinstance(groups, list) else [groups]
        role = next((role for group, role in self._settings.roles.items() if group in held), None)
        if role is None:
            raise LoginError(
                f"{self._settings.issuer} knows you, but none of your groups has a role here: ask an "
                "admin to name one in [oidc] roles"
            )
        return Person(issuer=self._settings.issuer, subject=str(claims["sub"]), name=name, role=Role(role))

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except _WRONG as error:
            # the kind alone: texts quote what the provider and the browser sent
            log.warning("oidc_failed", error=type(error).__name__)
            raise LoginError(
                f"the log-in through {self._settings.issuer} failed, since {what} ({_kind(error)}): try "
                "again; if it goes on, tell an admin, whom `ich-triage doctor` helps"
            ) from error


def _kind(error: Exception) -> str:
    code = getattr(error, "error", None)
    return code if isinstance(code, str) and code.isidentifier() and len(code) <= 64 else type(error).__name__


def _claim(claims: dict[str, Any], name: str) -> Any:
    """The claim of that name, else the one to which its dots lead."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
