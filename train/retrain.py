"""`python -m train retrain`: from the radiologists' feedback, and other sources, to a package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from ich_triage.domain.input_spec import InputSpec
from ich_triage.errors import PackageError, SettingsError
from ich_triage.model.network import ArchitectureSpec
from ich_triage.model.package import Package

from . import data, metadata, recipe, runs
from .assemble import assemble, require_both
from .runs import Start
from .sources import config as lists
from .sources.config import Sources
from .sources.service import ServiceSource

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """One run."""

    #: the service's configuration file
    config: Path
    #: folder of the package whose weights to go on from
    start: Path
    #: package folder to write
    out: Path
    #: name of the package
    name: str
    #: folder for tables, prepared studies and runs; a second run goes on there
    work: Path
    #: TOML file with sources to mix in
    more: Path | None = None
    #: recipe, and its overrides
    recipe: str = "retrain"
    overrides: tuple[str, ...] = ()


def retrain(retraining: Retraining, *, workers: int) -> Package:
    """Read the feedback, train, calibrate, evaluate, write. Raises IchTriageError.

    The package that it goes on from is evaluated beside, on the same patients, so that the gate can compare.
    """
    tables = retraining.work / "data"
    for summary in metadata.build(_sources(retraining), tables, workers=workers):
        problems = sum(summary.problems.values())
        log.info("source_read", source=summary.source, studies=summary.studies, problems=problems)
    before = Package.load(retraining.start)
    chosen = recipe.load_network(retraining.recipe, (*_as(before), *retraining.overrides))
    start = Start(package=before)
    found = data.load(tables, chosen.input_spec, seen=start.seen, workers=workers)
    require_both(found.judged())  # before any training
    run = retraining.work / "runs" / runs.name_of(chosen, found, start)
    runs.train(chosen, found, run, start)
    command = "ich-triage retrain"
    trained = runs.from_runs([run], found, before, name=retraining.name, command=command)
    return assemble(retraining.out, trained, found.judged())


def _sources(retraining: Retraining) -> Sources:
    service = ServiceSource(kind="service", name="feedback", config=retraining.config)
    more = lists.load(retraining.more).sources if retraining.more else ()
    if service.name in {source.name for source in more}:
        raise SettingsError(f"{retraining.more}: the name {service.name} is taken, give the source another")
    return Sources(sources=(service, *more))


def _as(package: Package) -> list[str]:
    """The recipe's overrides that make its network the package's. Raises PackageError."""
    manifest = package.manifest
    architecture, size = manifest.architecture, manifest.input_spec.size
    if not isinstance(architecture, ArchitectureSpec) or manifest.input_spec != InputSpec(size=size):
        raise PackageError(
            f"package {manifest.name} {manifest.version} cannot be trained further: its network or its input "
            "is not that of a study recipe; promote one that is, or fit the recipe that made it again"
        )
    parts = ("backbone", "decoder", "embedding", "hidden")
    return [*(f"{name}={getattr(architecture, name)}" for name in parts), f"size={size}"]
