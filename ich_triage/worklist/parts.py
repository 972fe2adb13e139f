"""What every route reaches through the application: settings, database, templates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates

from ..domain.label import PRIORITISATION_ONLY
from ..settings import Settings
from ..store.database import Database
from . import words
from .access import Principal


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one application."""

    #: the whole tree
    settings: Settings
    #: where everything is read and written
    database: Database
    #: pages; what they print is escaped
    templates: Jinja2Templates

    @classmethod
    def of(cls, settings: Settings, database: Database) -> Parts:
        """Parts that the settings decide."""
        templates = Jinja2Templates(directory=str(resources.files(__package__) / "templates"))
        templates.env.globals["label"] = PRIORITISATION_ONLY
        templates.env.filters |= words.FILTERS
        templates.env.trim_blocks = templates.env.lstrip_blocks = True
        return cls(settings=settings, database=database, templates=templates)

    def page(self, request: Request, template: str, who: Principal, told: dict[str, Any]) -> Response:
        """A page for somebody who is logged in."""
        return self.templates.TemplateResponse(request, template, told | {"who": who})


def parts(request: Request) -> Parts:
    """Dependency of a route."""
    found: Parts = request.app.state.parts
    return found
