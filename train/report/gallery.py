"""Which studies the report shows, with what was said of them: misses, false alarms, and some as they come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ich_triage.domain.labels import ABBREVIATIONS, SUBTYPES

from .groups import main_mimic
from .scored import Json, Scored

#: Studies shown as they come, not chosen by how well they were read.
_EXAMPLES = 12


def gallery(part: Scored, *, pictures: int) -> Json:
    """Every miss and every false alarm at the main point, and the part's first studies.

    Misses stand with the largest bleed first, false alarms with the surest first; `shown` is set for the
    first `pictures` of each, which the page shows.
    """
    flagged, bleeds = part.flagged(part.main_point), part.bleeds
    missed, alarmed = np.flatnonzero(bleeds & ~flagged), np.flatnonzero(~bleeds & flagged)
    missed = missed[np.argsort(-part.found.true_ml[missed].sum(axis=1), kind="stable")]
    alarmed = alarmed[np.argsort(-part.probability[alarmed, 0], kind="stable")]
    examples = np.arange(min(_EXAMPLES, len(bleeds)) if pictures else 0)
    return {
        "point": part.main_point,
        "misses": _entries(part, missed, pictures),
        "misses_left_out": max(0, len(missed) - pictures),
        "false_alarms": _entries(part, alarmed, pictures),
        "false_alarms_left_out": max(0, len(alarmed) - pictures),
        "examples": _entries(part, examples, _EXAMPLES),
    }


def _entries(part: Scored, studies: Iterable[int], pictures: int) -> Json:
    return [
        {**_entry(part, int(study)), "shown": position < pictures} for position, study in enumerate(studies)
    ]


def _entry(part: Scored, study: int) -> dict[str, Json]:
    facts, mimics = part.found.facts[study], part.origins[study].mimics
    there = part.found.labels[study, 1:]
    return {
        "study": study,
        "seed": facts.seed,
        "slice": part.found.keys[study].index + 1,
        "slices": len(part.found.slice_labels[study]),
        "probability": float(part.probability[study, 0]),
        "flagged": bool(part.flagged(part.main_point)[study]),
        "bleed": bool(part.bleeds[study]),
        "predicted": [
            {
                "label": ABBREVIATIONS[SUBTYPES[k]],
                "probability": float(part.probability[study, k + 1]),
                "measured_ml": float(part.found.measured_ml[study, k]),
                "right": bool(there[k]),
            }
            for k in part.told(study)
        ],
        "actual": [
            {
                "label": ABBREVIATIONS[SUBTYPES[k]],
                "true_ml": facts.true_ml[k] if facts.true_ml else None,
                "told": k in part.told(study),
            }
            for k in np.flatnonzero(there).tolist()
        ],
        "mimics": list[Json](sorted(mimics)),
        "main_mimic": main_mimic(mimics),
    }
