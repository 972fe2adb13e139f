"""Everything that the report tells, as one value: the JSON file is this, and the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ich_triage.domain.label import PRIORITISATION_ONLY
from ich_triage.model.manifest import Manifest, Metric

from ..evaluation import Predictions
from . import groups, places, sections, words
from .gallery import gallery
from .scored import Json, Scored

#: Version of the JSON; docs/evaluation.md tells it.
FORMAT = 2
#: Pictures of misses, and of false alarms, of each part.
PICTURES = 24

#: Honesty gates: what each may not reach, and in words. "low" must not lie above, "value" must lie below.
_GATES: dict[str, tuple[str, float, str]] = {
    "gate_metadata_only_auc": ("low", 0.5, "header fields alone do not tell a bleed"),
    "gate_outside_skull_auc": ("low", 0.5, "what lies outside the skull does not tell a bleed"),
    "gate_outside_skull_without_epidural_auc": (
        "low", 0.5, "the same without epidural bleeds, which come with fracture and swelling",
    ),
    "gate_hyperdense_count_auc": ("value", 0.85, "counting 50 to 90 HU inside the skull does not suffice"),
}  # fmt: skip

#: Baselines of a whole part: what it is, its figure, and the package's figure that must beat it.
_BASELINES = (
    ("constant prior, log loss of slices", "baseline_constant_prior_log_loss", "slice_log_loss"),
    ("count of 50 to 90 HU, AUC of studies", "gate_hyperdense_count_auc", "study_auc_any"),
    ("header fields only, AUC of studies", "gate_metadata_only_auc", "study_auc_any"),
    ("outside the skull only, AUC of studies", "gate_outside_skull_auc", "study_auc_any"),
)


class Table(BaseModel):
    """A table made elsewhere: the reproduced study. What else its JSON says is for others."""

    model_config = ConfigDict(frozen=True)

    #: what the table shows, on which split
    title: str
    #: heads of the columns
    columns: tuple[str, ...]
    #: cells, as long as `columns` each
    rows: tuple[tuple[str, ...], ...]

    @model_validator(mode="after")
    def _is_rectangular(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("each row needs as many cells as there are columns")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table from JSON. Raises ValueError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ValueError(
                f"{path} cannot be shown as the reproduced study's table ({type(error).__name__}); give JSON "
                'with "title", "columns" and "rows" of text, each row as long as "columns"'
            ) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What a report is made of."""

    #: the package's manifest, calibrated
    manifest: Manifest
    #: what the network said, by part; parts without figures are not shown
    predicted: Mapping[str, Predictions]
    #: figures by part and name
    figures: Mapping[str, Mapping[str, Metric]]
    #: hash of the code that drew the studies; None for studies of data sources
    generator_sha256: str | None
    #: the reproduced study on the same split
    reproduced: Table | None = None
    #: most pictures of misses, and of false alarms, of each part
    pictures: int = PICTURES

    def part(self, name: str) -> Scored:
        """One part as the package decides it."""
        return Scored(found=self.predicted[name], manifest=self.manifest, figures=self.figures[name])


def content(material: Material) -> dict[str, Json]:
    """The whole report."""
    manifest = material.manifest
    return {
        "format": FORMAT,
        "package": manifest.name,
        "version": manifest.version,
        "created": manifest.created.isoformat(timespec="seconds"),
        "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights_sha256": manifest.weights_sha256,
        "code_version": manifest.code_version,
        "evaluated_with": version("ich-triage"),
        "network": f"{manifest.architecture.backbone}, input {manifest.input_spec.size}²",
        "stamp": manifest.stamp,
        "label": PRIORITISATION_ONLY,
        "intended_use": words.use(manifest),
        "limits": list(words.limits(manifest)),
        "training_data": dict(manifest.data),
        "generator_sha256": material.generator_sha256,
        "operating_points": {name: dict(vars(point)) for name, point in manifest.operating_points.items()},
        "figures": {
            part: {name: metric.model_dump() for name, metric in figures.items()}
            for part, figures in material.figures.items()
        },
        "parts": {name: _part(material, name) for name in material.figures},
        "reproduced": material.reproduced.model_dump(mode="json") if material.reproduced else None,
    }


def _part(material: Material, name: str) -> dict[str, Json]:
    part = material.part(name)
    return {
        "name": words.PARTS[name] if part.drawn else words.PATIENTS,
        "drawn": part.drawn,
        "marked": int(part.found.marked.sum()),
        "data": sections.data(part),
        "decisions": sections.decisions(part),
        "roc": sections.roc(part),
        "predictive_values": sections.predictive_values(part),
        "labels": sections.labels(part),
        "subgroups": groups.subgroups(part),
        "calibration": sections.calibration(part),
        "places": places.places(part),
        "volumes": places.volumes(part),
        "false_alarms": groups.false_alarms(part),
        "gallery": gallery(part, pictures=material.pictures),
        "gates": _gates(part.figures),
        "baselines": _baselines(part.figures),
    }


def _gates(figures: Mapping[str, Metric]) -> Json:
    rows: list[Json] = []
    for name, (bound, limit, claim) in _GATES.items():
        found = figures.get(name)
        rows.append(
            {
                "name": name,
                "claim": claim,
                "limit": limit,
                "measured": found.model_dump() if found else None,
                "held": None if found is None else bool(getattr(found, bound) <= limit),
            }
        )
    return rows


def _baselines(figures: Mapping[str, Metric]) -> Json:
    return [
        {
            "name": name,
            "baseline": figures[baseline].model_dump() if baseline in figures else None,
            "package": figures[package].model_dump() if package in figures else None,
        }
        for name, baseline, package in _BASELINES
    ]
