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

    loaded = settings(context, config)
    package = bootstrap.package(loaded)
    if card:
        typer.echo(bootstrap.package_card(loaded))
    elif as_json:
        print_json(package.manifest.model_dump(mode="json"))
    else:
        identity = package.identity
        console.print(
            f"{identity.name} {identity.version}, weights {identity.weights_sha256}", soft_wrap=True
        )
        for name, point in package.manifest.operating_points.items():
            told = f"threshold {point.threshold:.3f}, sensitivity {point.sensitivity:.3f}"
            console.print(f"operating point {name}: {told}, specificity {point.specificity:.3f}")
        if identity.synthetic:
            console.print(SYNTHETIC, style="yellow")
