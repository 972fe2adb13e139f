"""`ich-triage models`: what the worker would load."""

from __future__ import annotations

from typing import Annotated

import typer

from ..domain.label import SYNTHETIC
from .options import ConfigOption, JsonOption, console, print_json, settings


def models(
    context: typer.Context,
    as_json: JsonOption = False,
    card: Annotated[bool, typer.Option("--card", help="Print the model card.")] = False,
    config: ConfigOption = None,
) -> None:
    """Describe the model package in force: origin, operating points, figures."""
    from .. import bootstrap  # loads torch

    package = bootstrap.package(settings(context, config))
    if card:
        typer.echo(package.card)
    elif as_json:
        print_json(package.manifest.to_json())
    else:
        identity = package.identity
        console.print(f"{identity.name} {identity.version}  weights {identity.weights_sha256}")
        for name, point in package.manifest.operating_points.items():
            console.print(f"operating point {name}: {point}")
        if identity.synthetic:
            console.print(SYNTHETIC, style="yellow")
