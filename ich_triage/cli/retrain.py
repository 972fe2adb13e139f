"""`ich-triage retrain`: a package from the radiologists' feedback, published and held against the gate."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .. import bootstrap
from ..errors import PromotionError, SettingsError
from ..settings import CONFIG_VARIABLE
from .models import promote_package
from .options import ConfigOption, config_path, console, open_database, settings


def retrain(
    context: typer.Context,
    more: Annotated[
        Path | None, typer.Option(help="TOML list of training sources to mix in.", dir_okay=False)
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for prepared studies and runs; a second run goes on there.")
    ] = Path("var/retrain"),
    name: Annotated[str, typer.Option(help="Name of the new package.")] = "site",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the training recipe; repeatable.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read and prepare; 0: none but training's own.")
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Put it in force if the gate opens.")] = False,
    config: ConfigOption = None,
) -> None:
    """Train the package in force further on the studies with feedback, and publish what comes out."""
    loaded = settings(context, config)
    path = config_path(context, config) or os.environ.get(CONFIG_VARIABLE)
    if not path:
        raise SettingsError("retraining needs the service's configuration file: name it with --config")
    if not find_spec("lightning"):
        raise SettingsError("retraining needs more than serving does: install ich-triage[train]")
    models = bootstrap.models(loaded, open_database(loaded))
    start = models.promoted().package.path
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        made = Path(folder) / "package"
        arguments = ["--config", str(path), "--start", str(start), "--work", str(work), "--out", str(made)]
        arguments += ["--name", name, *(["--more", str(more)] if more else [])]
        arguments += [part for override in overrides or () for part in ("--set", override)]
        arguments += [] if workers is None else ["--workers", str(workers)]
        # Training is another program: the service never imports it.
        if subprocess.run([sys.executable, "-m", "train", "retrain", *arguments], check=False).returncode:
            raise PromotionError("retraining stopped, as said above; what is done stays")
        published = models.registry.publish(made)
    console.print(f"published {published.name}", soft_wrap=True)
    if promote:
        promote_package(loaded, models, published.name)
    else:
        console.print(
            f"compare: ich-triage models compare {models.promoted().package.name} {published.name}\n"
            f"put it in force: ich-triage models promote {published.name}",
            soft_wrap=True,
        )
