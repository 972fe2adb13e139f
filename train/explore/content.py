"""Everything that the exploration tells, as one value: the JSON file is this, and the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pandas as pd

from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC

from ..freqhist import FrequencyBins
from ..sources.config import Sources
from . import baselines, brain, geometry, labels, splits, storage
from .part import TOGETHER, Json, Part, parts
from .pixels import Look

#: Version of the JSON; docs/exploration.md tells it.
FORMAT = 2
#: Bins of the sampled pixels' histogram, HU.
_HU_EDGES = np.arange(-1050, 2051, 20)


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What an exploration is made of."""

    #: the list of sources
    sources: Sources
    #: the metadata table of all of them
    table: pd.DataFrame
    #: how often each kind of problem is in each source; columns `source`, `kind`, `count`
    problems: pd.DataFrame
    #: what was seen of the sampled studies
    look: Look
    #: frozen bins; None where no pixels could be read
    bins: FrequencyBins | None
    #: share of the patients, or slices, held back by the splits that are made here
    validation: float
    #: seed of splits and samples
    seed: int
    #: fold of each patient as training froze them; None before the first training
    frozen: Mapping[str, str] | None = None


def content(material: Material) -> dict[str, Json]:
    """The whole report. Neither patients nor identifiers are in it."""
    table = material.table
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": version("ich-triage"),
        "stamp": SYNTHETIC if table["synthetic"].any() else None,
        "label": PRIORITISATION_ONLY,
        "sources": _sources(material),
        "validation": material.validation,
        "seed": material.seed,
        "frozen_folds": material.frozen is not None,
        "parts": [_part(part, material) for part in parts(table)],
        "sample": {
            "studies": material.look.studies,
            "unread": dict[str, Json](material.look.unread),
            "examples": len(material.look.examples),
        },
        "frequency": _frequency(material),
    }


def _sources(material: Material) -> list[Json]:
    return [
        {"name": each.name, "kind": each.kind, "weight": each.weight} for each in material.sources.sources
    ]


def _part(part: Part, material: Material) -> dict[str, Json]:
    divided = splits.divide(part, validation=material.validation, seed=material.seed, frozen=material.frozen)
    return {
        "name": part.name,
        "data": _data(part),
        "labels": labels.labels(part),
        "together": labels.together(part),
        "storage": storage.storage(part),
        "brain": brain.brain(part),
        "geometry": geometry.geometry(part),
        "problems": _problems(part, material.problems),
        "splits": splits.splits(part, divided),
        "baselines": baselines.baselines(part, divided[splits.BY_PATIENT]),
    }


def _data(part: Part) -> Json:
    """How much there is, and what is there twice."""
    table = part.table
    sources = table.groupby("patient")["source"].nunique()
    return {
        "slices": len(table),
        "series": len(part.series_rows),
        "studies": len(part.study_rows),
        "patients": len(sources),
        "synthetic": int(table["synthetic"].sum()),
        "labels": part.slices.counts("any"),
        "study_labels": part.studies.counts("any"),
        "patients_in_several_sources": int((sources > 1).sum()),
        "slices_in_several_sources": int(table.duplicated(["SOPInstanceUID", "frame"]).sum()),
    }


def _problems(part: Part, problems: pd.DataFrame) -> Json:
    mine = problems if part.name == TOGETHER else problems[problems["source"] == part.name]
    counts = mine.groupby("kind")["count"].sum().sort_values(ascending=False, kind="stable")
    return {str(kind): int(count) for kind, count in counts.items()}


def _frequency(material: Material) -> Json:
    """The frozen bins, the sample of this run, and which stored pixels the bins were not drawn from."""
    bins, pixels = material.bins, material.look.pixels
    if bins is None:
        return None
    drawn = {(each.bits_stored, each.pixel_representation) for each in bins.sample}
    groups: list[Json] = []
    for (bits, signed), values in pixels.items():
        counts, _ = np.histogram(values.clip(_HU_EDGES[0], _HU_EDGES[-1]), _HU_EDGES)
        share = (counts / len(values)).tolist()
        row: Json = {
            "bits_stored": bits,
            "pixel_representation": signed,
            "share": list[Json](share),
            "pixels": len(values),
        }
        groups.append(row)
    there = storage.group_of(material.table).drop_duplicates().itertuples(index=False, name=None)
    return {
        "bins": list(bins.hu),
        "sample": [each.model_dump() for each in bins.sample],
        "not_sampled": [
            {"bits_stored": int(b), "pixel_representation": int(s)} for b, s in sorted(set(there) - drawn)
        ],
        "histogram": {"edges": list[Json](_HU_EDGES.tolist()), "groups": groups},
    }
