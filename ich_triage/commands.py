"""Commands whose modules load when they are called: one starts sooner than all of them together."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


class LazyGroup(TyperGroup):
    """A group of commands, each named by where it is: subclass it with `sources` for `typer.Typer(cls=…)`."""

    #: command → "module:attribute", a function with typer's annotations or a `typer.Typer` of several
    sources: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(self.sources)


class _Commands(UserDict[str, Any]):
    """Holds where each command is, and gives the command."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        module, _, attribute = super().__getitem__(name).partition(":")
        found = getattr(import_module(module), attribute)
        app = found if isinstance(found, typer.Typer) else typer.Typer()
        if app is not found:
            app.command(name)(found)
        app._add_completion = False
        command = typer.main.get_command(app)
        command.name = name
        return command  # type: ignore[return-value]
