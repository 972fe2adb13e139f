"""Sections about labels: how often each is there, and which come together."""

from __future__ import annotations

import numpy as np

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.phantom.tables import BLEEDS

from .part import Json, Labelled, Part, dump

#: Most sets of subtypes that are listed.
_SETS = 10


def labels(part: Part) -> Json:
    """Each label of slices and of studies: there, not there, unknown; its share of all, and of what bleeds.

    There is no share of all where much of what bleeds leaves the label open; see `Labelled.says`.
    """
    found: dict[str, Json] = {}
    for name, level in (("slices", part.slices), ("studies", part.studies)):
        bleeding = level.positive("any")
        found[name] = {
            label: level.counts(label)
            | {
                "share": level.share(label) if level.says([label]) else None,
                "share_of_bleeding": level.share(label, bleeding),
            }
            for label in LABELS
        }
    return found | {"rsna_share_of_bleeding": {kind: BLEEDS[kind].slice_share for kind in SUBTYPES}}


def together(part: Part) -> Json:
    """Which subtypes come together, in slices and in studies."""
    return {"slices": _together(part.slices), "studies": _together(part.studies)}


def _together(level: Labelled) -> Json:
    """Pairs, sets and numbers of subtypes; None where no row with a bleed has all its subtypes known.

    `pairs` are rows with both, `share` those among the rows with the first of which the second is known.
    """
    subtypes = level.values[:, 1:]
    whole = level.positive("any") & level.complete
    if not whole.any():
        return None
    there, known = subtypes == 1, ~np.isnan(subtypes)
    pairs = there.T.astype(np.int64) @ there.astype(np.int64)
    among = there.T.astype(np.int64) @ known.astype(np.int64)
    share = np.divide(pairs, among, out=np.zeros(pairs.shape), where=among > 0)
    number = there.sum(axis=1)
    return {
        "subtypes": list(SUBTYPES),
        "pairs": pairs.tolist(),
        "share": share.tolist(),
        "known": int(whole.sum()),
        "labels_per_bleeding": dump(level.mean(number, whole)),
        "numbers": {str(n): int(count) for n, count in enumerate(np.bincount(number[whole]))},
        "sets": _sets(there[whole]),
    }


def _sets(there: np.ndarray) -> list[Json]:
    """The commonest sets of subtypes of rows with a bleed, (n, 5) bool; in the empty one none is named."""
    code = there @ (1 << np.arange(len(SUBTYPES)))
    counts = np.bincount(code)
    return [
        {
            "subtypes": [kind for bit, kind in enumerate(SUBTYPES) if each >> bit & 1],
            "count": int(counts[each]),
        }
        for each in np.argsort(-counts, kind="stable")[:_SETS].tolist()
        if counts[each]
    ]
