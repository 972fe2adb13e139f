"""A small OpenID Connect provider for tests: discovery, keys, authorisation and token, over real HTTP.

It can be made to say something wrong, or to go away.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Form, HTTPException
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "ich-triage", "a secret of two"
Json = dict[str, Any]


class OpenIdPeer:
    """What the provider knows and says; tests change it between requests."""

    def __init__(self) -> None:
        #: set once it listens
        self.issuer = ""
        #: claims of who is logged in at the provider; they overrule the right ones
        self.claims: Json = {"sub": "4711", "preferred_username": "Anna Müller", "groups": ["readers"]}
        #: what the discovery document says otherwise
        self.discovery: Json = {}
        #: what is answered in place of a token
        self.token_answer: Response | None = None
        self._codes: dict[str, Json] = {}
        self.rotate()

    def rotate(self) -> None:
        """Another key; tokens signed with the one before are worth nothing."""
        self._key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"})

    def app(self) -> FastAPI:
        """Its four end points."""
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def discovery() -> Json:
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            } | self.discovery

        @app.get("/keys")
        def keys() -> Json:
            return {"keys": [self._key.as_dict(private=False)]}

        @app.get("/authorize")
        def authorize(redirect_uri: str, state: str, nonce: str, code_challenge: str) -> Response:
            code = secrets.token_hex(8)
            self._codes[code] = {"nonce": nonce, "challenge": code_challenge}
            return RedirectResponse(f"{redirect_uri}?{urlencode({'code': code, 'state': state})}", 302)

        @app.post("/token")
        def token(code: str = Form(), code_verifier: str = Form()) -> Any:
            if self.token_answer is not None:
                return self.token_answer
            asked = self._codes.pop(code, None)
            if asked is None or _challenge(code_verifier) != asked["challenge"]:
                raise HTTPException(400)
            body = {"access_token": "x", "token_type": "Bearer", "id_token": self._id_token(asked["nonce"])}
            return JSONResponse(body)

        return app

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        right = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        header = {"alg": "RS256", "kid": self._key.kid}
        return jwt.encode(header, right | self.claims, self._key)


def unsigned() -> Response:
    """A token answer whose ID token carries no signature."""
    header, claims = _base64(b'{"alg": "none"}'), _base64(b'{"sub": "4711"}')
    token = f"{header}.{claims}."
    return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": token})


def _challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, S256."""
    return _base64(hashlib.sha256(verifier.encode()).digest())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@contextmanager
def openid_peer() -> Iterator[OpenIdPeer]:
    """A provider that listens on a port of its own."""
    peer = OpenIdPeer()
    config = uvicorn.Config(peer.app(), log_config=None, access_log=False, lifespan="off")
    listener = socket.create_server(("127.0.0.1", 0))
    peer.issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield peer
    server.should_exit = True
    thread.join()
    listener.close()
