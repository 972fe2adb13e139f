"""`ich-triage models`: packages published, compared, put in force and rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import bootstrap
from ..domain.label import SYNTHETIC
from ..errors import PackageError, PromotionError
from ..settings import Settings
from ..store.tables import Promotion
from .model_tables import checks_table, comparison_table, describe, history_table, packages_table
from .options import ConfigOption, JsonOption, console, open_database, print_json, settings

if TYPE_CHECKING:
    from ..model.gate import Check
    from ..model.registry import PackageFolder
    from ..pipeline.models import Models

Json = dict[str, Any]

app = typer.Typer(help="Model packages: publish, compare, promote, roll back.", no_args_is_help=True)
NameArgument = Annotated[
    str, typer.Argument(help="Name of a published package, or its beginning; `embedded`.")
]


@app.command("list")
def list_packages(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List published packages, which one is in force, and the history of promotions."""
    from ..model.registry import SHIPPED

    models = _models(settings(context, config))
    in_force, pinned = models.in_force().package, models.pinned
    told = {
        "in_force": in_force.name,
        "pinned": str(pinned.path) if pinned else None,
        "packages": [_row(models, name, in_force.name) for name in (SHIPPED, *models.registry.names())],
        "history": [_entry(each) for each in models.history()],
    }
    if as_json:
        print_json(told)
        return
    console.print(packages_table(told))
    if told["history"]:
        console.print("", history_table(told))
    _say_pinned(models)


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A published package; else the one in force.")] = None,
    as_json: JsonOption = False,
    card: Annotated[bool, typer.Option("--card", help="Print the model card.")] = False,
    config: ConfigOption = None,
) -> None:
    """Describe one package: origin, operating points, figures."""
    from ..model.package import CARD

    loaded = settings(context, config)
    folder = bootstrap.registry(loaded).get(name) if name else _models(loaded).in_force().package
    package = folder.load()
    if card:
        typer.echo((folder.path / CARD).read_text(encoding="utf-8"))
    elif as_json:
        print_json(package.manifest.model_dump(mode="json"))
    else:
        console.print(describe(package.manifest), soft_wrap=True)


@app.command()
def publish(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A package folder.", exists=True, file_okay=False)],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Copy a package into the registry, where it never changes; it is not yet in force."""
    published = bootstrap.registry(settings(context, config)).publish(folder)
    if as_json:
        print_json({"name": published.name, "path": str(published.path)})
    else:
        console.print(
            f"published {published.name}\nput it in force: ich-triage models promote {published.name}",
            soft_wrap=True,
        )


@app.command()
def compare(
    context: typer.Context,
    one: NameArgument,
    other: NameArgument,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Set the figures of two packages side by side, with their intervals."""
    from ..model import gate

    registry = bootstrap.registry(settings(context, config))
    pair = [registry.get(each).manifest() for each in (one, other)]
    metrics = [each.metrics for each in pair]
    told = {
        "packages": [each.identity.key for each in pair],
        "incomparable": gate.incomparable(*pair),
        "metrics": {
            name: [found[name].model_dump() if name in found else None for found in metrics]
            for name in dict.fromkeys((*gate.COMPARED, *metrics[0], *metrics[1]))
        },
    }
    if as_json:
        print_json(told)
    else:
        console.print(comparison_table(told))


@app.command()
def promote(
    context: typer.Context,
    name: NameArgument,
    force: Annotated[
        str | None, typer.Option(help="Overrule the gate's figures, with the reason for it.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put a package in force if it passes the gate; running workers take it within seconds."""
    loaded = settings(context, config)
    promote_package(loaded, _models(loaded), name, force=force, as_json=as_json)


def promote_package(
    loaded: Settings, models: Models, name: str, *, force: str | None = None, as_json: bool = False
) -> None:
    """Hold a published package against the gate, put it in force if it passes, and say what was seen.

    Raises typer.Exit where it does not pass, PackageError, PromotionError.
    """
    from ..model import gate

    before = models.promoted()
    candidate = _candidate(models, name, before.package)
    with console.status("examining the package"):
        checks = gate.examine(
            candidate, before.package, prove=lambda package: bootstrap.prove(loaded, package)
        )
    promoted = gate.opens(checks, forced=bool(force))
    if promoted:
        models.promote(candidate, checks, after=before.number, forced=force)
    if as_json:
        told = {"package": candidate.name, "replaces": before.package.name, "promoted": promoted}
        print_json(told | {"checks": [vars(each) for each in checks]})
    else:
        console.print(checks_table(checks))
        _say_promoted(models, candidate, checks, promoted=promoted)
    if not promoted:
        raise typer.Exit(1)


@app.command()
def rollback(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Put the package back in force that was so before the last promotion; running workers take it."""
    models = _models(settings(context, config))
    left, back = models.roll_back()
    if as_json:
        print_json({"package": back.name, "replaces": left.name})
        return
    console.print(f"{back.name} is in force again, in the place of {left.name}", soft_wrap=True)
    if back.manifest().synthetic:
        console.print(SYNTHETIC, style="yellow")
    _say_pinned(models)


def _models(loaded: Settings) -> Models:
    return bootstrap.models(loaded, open_database(loaded))


def _candidate(models: Models, name: str, current: PackageFolder) -> PackageFolder:
    """The published package to promote. Raises PackageError, PromotionError."""
    from ..model.registry import SHIPPED

    candidate = models.registry.get(name)
    if candidate.name == SHIPPED:
        raise PromotionError(
            f"the package that ships is not in the registry: publish {candidate.path} first, "
            "or go back to it with `ich-triage models rollback`"
        )
    if candidate.name == current.name:
        raise PromotionError(f"{candidate.name} is in force already")
    return candidate


def _row(models: Models, name: str, in_force: str) -> Json:
    """A package of the list; one that was altered says so, and the rest is listed all the same."""
    row: Json = {"name": name, "in_force": name == in_force, "problem": None}
    try:
        folder = models.registry.get(name)
        manifest = folder.manifest()
    except PackageError as error:
        return row | {"problem": str(error), "path": str(models.registry.path(name))}
    kept = ("version", "created", "synthetic", "weights_sha256", "data")
    return row | {"path": str(folder.path)} | manifest.model_dump(mode="json", include=set(kept))


def _entry(entry: Promotion) -> Json:
    return {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "action": entry.action,
        "package": entry.package,
        "weights_sha256": entry.weights_sha256,
        "forced": entry.forced,
        "checks": entry.checks,
    }


def _say_promoted(
    models: Models, candidate: PackageFolder, checks: tuple[Check, ...], *, promoted: bool
) -> None:
    if promoted:
        console.print(f"{candidate.name} is in force", soft_wrap=True)
        if candidate.synthetic:
            console.print(SYNTHETIC, style="yellow")
        _say_pinned(models)
        return
    console.print(f"{candidate.name} was not promoted", style="bold red", soft_wrap=True)
    if all(each.passed or each.forcible for each in checks):
        console.print("its figures alone speak against it: --force REASON overrules them, and is kept")


def _say_pinned(models: Models) -> None:
    """Whatever is in force by the registry, workers keep to what the configuration names."""
    if models.pinned:
        console.print(
            f"[model] package pins {models.pinned.path} and overrules the registry",
            style="yellow",
            markup=False,
        )
