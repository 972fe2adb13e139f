"""What every route reaches through the application: settings, database, templates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates

from ..domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ..settings import Settings
from ..storage.files import Files, files_of
from ..store.alive import Alive, alive
from ..store.database import Database
from . import words
from .bundle import Bundle
from .shared import Shared
from .stack import Stacks


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one application."""

    #: the whole tree
    settings: Settings
    #: where everything is read and written
    database: Database
    #: where images and reports lie
    spool: Files
    #: pages; what they print is escaped
    templates: Jinja2Templates
    #: audit records that would come by the hundred
    bundle: Bundle
    #: rows that many pages ask for at once
    shared: Shared
    #: images of the studies that were looked at last
    stacks: Stacks

    @classmethod
    def of(cls, settings: Settings, database: Database) -> Parts:
        """Parts that the settings decide."""
        folder = resources.files(__package__) / "templates"
        templates = Jinja2Templates(directory=str(folder), context_processors=[_who])
        templates.env.globals |= {"label": PRIORITISATION_ONLY, "synthetic": SYNTHETIC}
        templates.env.filters |= words.FILTERS
        templates.env.trim_blocks = templates.env.lstrip_blocks = True
        spool = files_of(settings.spool)
        return cls(
            settings=settings,
            database=database,
            spool=spool,
            templates=templates,
            bundle=Bundle(),
            shared=Shared(),
            stacks=Stacks(database, spool),
        )

    def alive(self) -> Alive:
        """Who receives and who analyses."""
        with self.database.read() as session:
            return alive(session, dead_after_s=self.settings.worker.dead_after_s)

    def page(self, request: Request, template: str, told: dict[str, Any]) -> Response:
        """A page of what is `told`."""
        return self.templates.TemplateResponse(request, template, told)


def _who(request: Request) -> dict[str, Any]:
    """What pages know of who reads them: `principal`, None where nobody is logged in."""
    return {"principal": getattr(request.state, "principal", None)}


def parts(request: Request) -> Parts:
    """Dependency of a route."""
    found: Parts = request.app.state.parts
    return found
