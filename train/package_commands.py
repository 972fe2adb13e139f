"""`python -m train embedded` and `evaluate`: the package that ships, and what any package can do."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ich_triage.domain.input_spec import InputSpec
from ich_triage.model.network import ArchitectureSpec

from .embedded import Plan, Sizes, make
from .evaluate import DrawnStudies, Evaluation, evaluate_package
from .fit import FitSettings
from .journal import record
from .report.content import PICTURES, Table
from .sources.commands import one_line_errors


def embedded(  # noqa: PLR0913  one option each
    out: Annotated[Path, typer.Option(help="package folder to write")],
    cache: Annotated[Path, typer.Option(help="drawn studies and checkpoint; run again to resume")] = Path(
        "build/train"
    ),
    train: Annotated[
        int, typer.Option(min=0, help="studies to train on; 0: calibrate and evaluate --start anew")
    ] = Sizes.train,
    skip: Annotated[
        int, typer.Option(min=0, help="training studies passed over first: those that --start has seen")
    ] = 0,
    calibration: Annotated[int, typer.Option(help="studies to calibrate on")] = Sizes.calibration,
    test: Annotated[int, typer.Option(help="studies to test on")] = Sizes.test,
    held_out: Annotated[int, typer.Option(help="test studies of the held-out style")] = Sizes.held_out,
    epochs: Annotated[int, typer.Option(help="passes over the training studies, a few slices each")] = 60,
    study_epochs: Annotated[int, typer.Option(help="passes over long stretches of them")] = 3,
    rate: Annotated[
        float, typer.Option(min=0.01, max=10, help="peak learning rates, as a share of the recipe's")
    ] = 1.0,
    size: Annotated[int, typer.Option(help="pixels per side of the input, a multiple of 32")] = 192,
    matrix: Annotated[int, typer.Option(help="pixels per side of a drawn slice")] = Plan.matrix,
    backbone: Annotated[str, typer.Option(help="timm name")] = ArchitectureSpec.backbone,
    seed: Annotated[int, typer.Option(help="seed of the training loop")] = 0,
    workers: Annotated[int, typer.Option(help="processes that draw phantoms")] = os.cpu_count() or 1,
    pretrained: Annotated[Path | None, typer.Option(help="file of backbone weights")] = None,
    start: Annotated[Path | None, typer.Option(help="package whose weights to go on from")] = None,
    keep: Annotated[
        float, typer.Option(min=0, max=1, help="share of the weights of --start in those that result")
    ] = 0.0,
    log: Annotated[Path | None, typer.Option(help="Markdown file to append the outcome to")] = None,
) -> None:
    """Draw phantoms, train, calibrate, evaluate and write the package that ships with the product."""
    if keep and not start:
        raise typer.BadParameter("there is nothing to keep without --start", param_hint="--keep")
    if not train and not start:
        raise typer.BadParameter("nothing would be learned without --start", param_hint="--train")
    short, long = (replace(stage, learning_rate=stage.learning_rate * rate) for stage in FitSettings.stages)
    stages = (replace(short, epochs=epochs), replace(long, epochs=study_epochs))
    plan = Plan(
        out=out,
        cache=cache,
        sizes=Sizes(train=train, calibration=calibration, test=test, held_out=held_out),
        skip=skip,
        architecture=ArchitectureSpec(backbone=backbone, mirrored=True),
        input_spec=InputSpec(size=size),
        fit=FitSettings(seed=seed, stages=stages),
        matrix=matrix,
        workers=workers,
        pretrained=pretrained,
        start=start,
        keep=keep,
    )
    with record(log, plan) as outcome:
        outcome.append(make(plan).manifest)


def evaluate(  # noqa: PLR0913  one option each
    package: Annotated[Path, typer.Argument(help="package folder")],
    out: Annotated[Path, typer.Option(help="folder for evaluation.html and evaluation.json")],
    folder: Annotated[
        Path | None,
        typer.Option("--data", help="folder that `metadata` wrote, for its test patients"),
    ] = None,
    cache: Annotated[Path, typer.Option(help="drawn studies; what is missing is drawn")] = Path(
        "build/train"
    ),
    test: Annotated[int, typer.Option(min=1, help="studies to test on")] = Sizes.test,
    held_out: Annotated[
        int, typer.Option(min=0, help="test studies of the held-out style; 0 leaves it out")
    ] = Sizes.held_out,
    matrix: Annotated[
        int | None,
        typer.Option(help="pixels per side of a drawn slice; as the package was made, if left out"),
    ] = None,
    workers: Annotated[int, typer.Option(help="processes that draw phantoms")] = os.cpu_count() or 1,
    reproduced: Annotated[
        Path | None, typer.Option(help="JSON table of the reproduced study: `compare` writes it")
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="most pictures of misses, and of false alarms, of each part")
    ] = PICTURES,
) -> None:
    """Evaluate a package: a page with pictures, and the same as JSON.

    On the frozen phantom test set, or with --data on the test patients of data sources.
    """
    try:
        table = Table.read(reproduced) if reproduced else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--reproduced") from error
    evaluation = Evaluation(
        package=package,
        out=out,
        studies=folder
        or DrawnStudies(
            cache=cache, counts={"test": test, "held_out": held_out}, matrix=matrix, workers=workers
        ),
        reproduced=table,
        pictures=pictures,
    )
    with one_line_errors():
        written = evaluate_package(evaluation)
    typer.echo(f"wrote {written} and {written.with_suffix('.html').name} beside it")
