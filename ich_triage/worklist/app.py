"""The web application: which routes there are, and what every answer carries."""

from __future__ import annotations

from importlib import resources
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from ..settings import Settings
from ..store import ready
from ..store.database import Database
from ..telemetry.metrics import registry
from ..telemetry.readiness import Readiness
from . import api, doors, events, fhir, health, listing, metrics, quality, refusals, study
from .headers import Headers
from .parts import Parts


def create(settings: Settings, database: Database) -> FastAPI:
    """The application over one database."""
    app = FastAPI(
        title="ICH Triage",
        version=version("ich-triage"),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.parts = Parts.of(settings, database)
    app.state.changes = events.Changes(database)
    app.state.readiness = Readiness({"database": ready.check(database)})
    app.state.metrics = registry("web", settings.spool)
    app.state.metrics.register(metrics.DatabaseFigures(settings, database))
    for routes in (listing, events, study, quality, api, fhir, health, metrics):
        app.include_router(routes.router)
    doors.install(app)
    refusals.install(app)
    app.add_middleware(Headers)
    static = resources.files(__package__) / "static"
    htmx = resources.files("django_htmx") / "static" / "django_htmx"
    app.mount("/static/htmx", StaticFiles(directory=str(htmx)), name="htmx")
    app.mount("/static", StaticFiles(directory=str(static)), name="static")
    return app
