"""`python -m train evaluate PACKAGE`: any package on the frozen phantom test set, or on data sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ich_triage.errors import PackageError, TrainingError
from ich_triage.model.manifest import Manifest
from ich_triage.model.package import MANIFEST, Package

from . import data
from .assemble import frozen_figures, predicted
from .drawn import generator_sha256
from .embedded import Plan, draw_parts, seeds
from .evaluation import gate_figures
from .progress import watched
from .report.content import PICTURES, Material, Table
from .report.files import write


@dataclass(frozen=True, kw_only=True)
class DrawnStudies:
    """The frozen phantom test set."""

    #: folder for drawn studies
    cache: Path
    #: studies of each part; a part with none is left out
    counts: Mapping[str, int]
    #: pixels per side of a drawn slice; None takes what the package was made with
    matrix: int | None = None
    #: processes that draw
    workers: int = 2

    def paths(self, manifest: Manifest) -> dict[str, list[Path]]:
        """Cases of each part, drawn where they are not there yet."""
        return draw_parts(
            {part: seeds(part, n) for part, n in self.counts.items() if n},
            cache=self.cache,
            spec=manifest.input_spec,
            matrix=self.matrix or int(manifest.data.get("pixels_per_side", Plan.matrix)),
            workers=self.workers,
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One run of `python -m train evaluate`."""

    #: package folder
    package: Path
    #: folder for evaluation.html and evaluation.json
    out: Path
    #: on what: phantoms, or the folder of the tables of data sources
    studies: DrawnStudies | Path
    #: the reproduced study on the same split
    reproduced: Table | None = None
    #: most pictures of misses, and of false alarms, of each part
    pictures: int = PICTURES


def evaluate_package(evaluation: Evaluation) -> Path:
    """Write both files and return the JSON's path. Raises IchTriageError, OSError."""
    package = _load(evaluation.package)
    manifest = package.manifest
    drawn = isinstance(evaluation.studies, DrawnStudies)
    paths = _paths(evaluation.studies, package)
    found = {part: predicted(package.network, part, files, manifest.mask) for part, files in paths.items()}
    material = Material(
        manifest=manifest,
        predicted=found,
        figures={
            part: frozen_figures(each, manifest) | gate_figures(each)
            for part, each in watched(found.items(), "figures", total=len(found))
        },
        generator_sha256=generator_sha256() if drawn else None,
        reproduced=evaluation.reproduced,
        pictures=evaluation.pictures,
    )
    path = evaluation.out / "evaluation.json"
    write(path, material)
    return path


def _paths(studies: DrawnStudies | Path, package: Package) -> Mapping[str, Sequence[Path]]:
    """Cases of each part; of data sources the test patients that the package has not learned from.

    Raises TrainingError where there are none.
    """
    if isinstance(studies, DrawnStudies):
        return studies.paths(package.manifest)
    found = data.load(studies, package.manifest.input_spec, seen=package.trained_on).tested("test")
    if not found:
        raise TrainingError(f"there is no test study in {studies} that the package has not learned from")
    return {"test": found}


def _load(folder: Path) -> Package:
    """Raises PackageError, with what to do about it."""
    if not (folder / MANIFEST).is_file():
        raise PackageError(
            f"{folder} is no model package: it has no {MANIFEST}; name the folder that "
            "`python -m train embedded --out` wrote, or ich_triage/model/embedded for the one that ships"
        )
    return Package.load(folder)
