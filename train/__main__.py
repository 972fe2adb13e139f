"""`python -m train …`: commands that make model packages."""

from __future__ import annotations

from typing import ClassVar

import typer

from ich_triage.commands import LazyGroup


class Commands(LazyGroup):
    """Every command, in the order of the help."""

    sources: ClassVar = {
        "metadata": "train.sources.commands:metadata",
        "phantoms": "train.sources.commands:phantoms",
        "explore": "train.explore.command:explore",
        "cache": "train.run_commands:cache",
        "lr-find": "train.run_commands:lr_find",
        "fit": "train.run_commands:fit",
        "package": "train.run_commands:package",
        "calibrate": "train.run_commands:calibrate",
        "compare": "train.compare.commands:compare",
        "retrain": "train.run_commands:retrain_package",
        "embedded": "train.package_commands:embedded",
        "evaluate": "train.package_commands:evaluate",
    }


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Makes model packages."""


if __name__ == "__main__":
    app()
