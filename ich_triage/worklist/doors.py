"""What stands before every route: the limit on requests, log-in, and who looks after accounts."""

from __future__ import annotations

from fastapi import FastAPI

from . import accounts, administration
from .body import BodyLimit
from .login import Login


def install(app: FastAPI) -> None:
    """Add all of it to the application, whose parts are there already."""
    app.state.login = Login(app.state.parts.database)
    app.add_middleware(BodyLimit)
    app.include_router(accounts.router)
    app.include_router(administration.router)
    if app.state.parts.settings.oidc.issuer:
        # authlib is not loaded where nobody needs it
        from . import oidc, provider_login

        app.state.provider = oidc.Provider(app.state.parts.settings.oidc)
        app.include_router(provider_login.router)
