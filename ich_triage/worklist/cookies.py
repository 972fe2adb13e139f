"""The session's cookie: never readable by a script, never sent along by another site's form."""

from __future__ import annotations

from fastapi import Request, Response

from ..settings import Web


def is_secure(web: Web) -> bool:
    """Whether browsers reach us over HTTPS: our own, or a proxy's."""
    return bool(web.tls_key or web.trusted_proxies or web.public_url.startswith("https:"))


def name(web: Web, kind: str) -> str:
    """Its name; with `__Host-` no other host and no page in clear can set it (RFC 6265bis 4.1.3.2)."""
    return f"__Host-ich_{kind}" if is_secure(web) else f"ich_{kind}"


def get(request: Request, web: Web, kind: str) -> str:
    """What the browser showed; empty where nothing."""
    return request.cookies.get(name(web, kind), "")


def put(response: Response, web: Web, kind: str, value: str) -> None:
    """Set it until the browser is closed; its lifetime is kept by us, not by the browser."""
    response.set_cookie(
        name(web, kind), value, path="/", secure=is_secure(web), httponly=True, samesite="lax"
    )


def drop(response: Response, web: Web, kind: str) -> None:
    """Take it back."""
    response.delete_cookie(name(web, kind), path="/", secure=is_secure(web), httponly=True, samesite="lax")
