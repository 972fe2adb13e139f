"""`python -m train cache`, `lr-find`, `fit`, `package`, `calibrate`: from the tables to a package."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ich_triage.model.package import Package

from . import data, rate, recipe, runs
from .assemble import Trained, assemble
from .recipe import SliceRecipe
from .retrain import Retraining, retrain
from .runs import Record, Start, from_runs
from .sources.commands import one_line_errors

Data = Annotated[Path, typer.Option("--data", help="folder that `metadata` wrote")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value of the recipe; as often as wanted")
]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="name of a recipe, or a .toml file")]
Pretrained = Annotated[Path | None, typer.Option(help="file of pretrained backbone weights")]

Plot = Annotated[Path | None, typer.Option(help="folder for the plot; build/runs/RECIPE unless given")]
RunFolder = Annotated[Path | None, typer.Option(help="folder of the run; build/runs/RECIPE unless given")]
PackageFolder = Annotated[Path | None, typer.Option(help="folder to write; build/packages/NAME unless given")]

_DATA = Path("build/data")


def cache(
    name: RecipeName,
    folder: Data = _DATA,
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(min=0, help="processes; 0 prepares in this one")] = os.cpu_count()
    or 1,
) -> None:
    """Prepare every study as a recipe's network sees it; run again to resume. `fit` does so, too."""
    with one_line_errors():
        found = data.load(folder, recipe.load_network(name, overrides or ()).input_spec, workers=workers)
        for fold, studies in found.studies.groupby("fold"):
            typer.echo(f"{fold}: {len(studies)} studies")


def lr_find(
    name: RecipeName,
    folder: Data = _DATA,
    overrides: Overrides = None,
    out: Plot = None,
    start: Annotated[Path | None, typer.Option(help="package whose weights to go on from")] = None,
    pretrained: Pretrained = None,
) -> None:
    """Find the learning rate of a recipe's first cycle, with a plot to judge it by."""
    with one_line_errors():
        chosen = recipe.load_network(name, overrides or ())
        found = data.load(folder, chosen.input_spec)
        out = out or _run_folder(name)
        begin = Start.at(start, pretrained=pretrained)
        best = rate.find(runs.learner(chosen, found, begin), out, title=name)
        typer.echo(
            f"steepest fall at {best:.1e}; believe it where the plot shows a fall: {out / rate.PLOT}; "
            "the recipe's learning_rate is that of its cycles or stages"
        )


def fit(
    name: RecipeName,
    folder: Data = _DATA,
    overrides: Overrides = None,
    out: RunFolder = None,
    start: Annotated[Path | None, typer.Option(help="package whose weights to go on from")] = None,
    pretrained: Pretrained = None,
) -> None:
    """Train a recipe; run again to resume."""
    with one_line_errors():
        chosen = recipe.load_network(name, overrides or ())
        begin = Start.at(start, pretrained=pretrained)
        found = data.load(folder, chosen.input_spec, seen=begin.seen)
        out = out or _run_folder(name)
        runs.train(chosen, found, out, begin)
        runs_of_both = f"{out} and the other task's" if isinstance(chosen, SliceRecipe) else str(out)
        begun = f" --start {start}" if start else ""
        typer.echo(
            f"trained in {out}; next: python -m train package, of {runs_of_both}, --data {folder}{begun}"
        )


def package(
    run: Annotated[Path, typer.Argument(help="folder of the run")],
    second: Annotated[Path | None, typer.Argument(help="multilabel run, where the first is binary")] = None,
    folder: Data = _DATA,
    out: PackageFolder = None,
    name: Annotated[str, typer.Option(help="name of the package")] = "site",
    start: Annotated[
        Path | None, typer.Option(help="the package that the run went on from, to compare")
    ] = None,
) -> None:
    """Calibrate and evaluate a trained run on patients that it never saw, and write a package."""
    with one_line_errors():
        begin = Start.at(start)
        found = data.load(folder, Record.read(run).recipe.input_spec, seen=begin.seen)
        folders = [run, second] if second else [run]
        command = "python -m train package"
        trained = from_runs(folders, found, begin.package, name=name, command=command)
        out = out or _package_folder(name)
        _say(assemble(out, trained, found.judged()))
        _next(out)


def calibrate(
    path: Annotated[Path, typer.Argument(metavar="PACKAGE", help="package folder")],
    folder: Data = _DATA,
    out: PackageFolder = None,
    name: Annotated[str, typer.Option(help="name of the new package")] = "calibrated",
) -> None:
    """Fit calibration and operating points of a package anew, on other data; its weights stay."""
    with one_line_errors():
        before = Package.load(path)
        found = data.load(folder, before.manifest.input_spec, seen=before.trained_on)
        trained = Trained(
            name=name,
            network=before.network,
            input_spec=before.manifest.input_spec,
            synthetic=before.manifest.synthetic or found.synthetic,
            data={**before.manifest.data, **found.told_of_judged(), "calibrated_from": before.identity.key},
            command="python -m train calibrate",
            created=datetime.now(UTC),
            trained_on=before.trained_on,
            start=before,
        )
        out = out or _package_folder(name)
        _say(assemble(out, trained, found.judged()))
        _next(out)


def retrain_package(  # noqa: PLR0913  one option each
    config: Annotated[Path, typer.Option(help="the service's configuration file")],
    start: Annotated[Path, typer.Option(help="package whose weights to go on from")],
    out: Annotated[Path, typer.Option(help="package folder to write")],
    name: Annotated[str, typer.Option(help="name of the package")] = "site",
    work: Annotated[Path, typer.Option(help="folder for tables, prepared studies and runs")] = Path(
        "var/retrain"
    ),
    more: Annotated[Path | None, typer.Option(help="TOML list of sources to mix in")] = None,
    overrides: Overrides = None,
    workers: Annotated[
        int, typer.Option(min=0, help="processes that read and prepare; 0: this one")
    ] = os.cpu_count() or 1,
) -> None:
    """Train a package further on the service's feedback; `ich-triage retrain` calls this."""
    with one_line_errors():
        retraining = Retraining(
            config=config,
            start=start,
            out=out,
            name=name,
            work=work,
            more=more,
            overrides=tuple(overrides or ()),
        )
        _say(retrain(retraining, workers=workers))


def _say(made: Package) -> None:
    figures = made.manifest.metrics
    for figure in ("study_auc_any", "sensitivity_balanced", "specificity_balanced"):
        if told := figures.get(figure):
            typer.echo(f"{figure} {told.value:.3f} ({told.low:.3f} to {told.high:.3f}), n {told.n}")


def _next(out: Path) -> None:
    typer.echo(f"package {out}; read {out / 'evaluation.html'}, then: ich-triage models publish {out}")


def _run_folder(name: str) -> Path:
    return Path("build/runs") / Path(name).stem


def _package_folder(name: str) -> Path:
    return Path("build/packages") / name
