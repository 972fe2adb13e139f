"""Brain share: how much of each slice is brain, what that says of bleeds, and what cutting by it costs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .part import Bools, Floats, Json, Part

#: Edges of the bins; the cuts below fall on two of them. Where the published study's lay is not known.
_EDGES = (0.0, 0.02, 0.05, 0.10, 0.20, 0.30, 1.0)
#: Positive rate by bin in the published study's data, in the order of its bins.
_PUBLISHED_RATES = (0.001, 0.035, 0.072, 0.087, 0.245, 0.266)
#: Least brain share → share of slices and of positives that the RSNA 2019 set loses by it.
_CUTS: dict[float, dict[str, float] | None] = {0.02: None, 0.20: {"slices": 0.57, "positives": 0.26}}
_HISTOGRAM = np.linspace(0, 1, 51)
#: Cuts at which the curve is drawn.
_CURVE = np.linspace(0, 0.4, 81)


def brain(part: Part) -> Json:
    """Distribution, positive rate by bin, and what is lost by each cut."""
    share = _share(part)
    level, there = part.slices, part.slices.positive("any")
    kinds = {"positive": there, "negative": level.known("any") & ~there, "unknown": ~level.known("any")}
    return {
        "histogram": {
            "edges": _HISTOGRAM.tolist(),
            **{name: np.histogram(share[rows], _HISTOGRAM)[0].tolist() for name, rows in kinds.items()},
        },
        "bins": list[Json](bins(part)),
        "cuts": list[Json](cuts(part)),
        "curve": {
            "least": _CURVE.tolist(),
            "slices": _lost(share),
            "positives": _lost(share[there]) if there.any() else None,
        },
    }


def bins(part: Part) -> list[dict[str, Json]]:
    """How many slices have so much brain, and how many of these a bleed; what was published stands beside."""
    share, level = _share(part), part.slices
    number = np.searchsorted(_EDGES[1:-1], share, side="right")
    return [
        {"from": low, "to": high, "slices": int((number == n).sum())}
        | level.counts("any", number == n)
        | {"rate": level.share("any", number == n), "published_rate": _PUBLISHED_RATES[n]}
        for n, (low, high) in enumerate(pairwise(_EDGES))
    ]


def cuts(part: Part) -> list[dict[str, Json]]:
    """What dropping slices with less brain costs, and in the RSNA 2019 set where that is known."""
    return [_cut(part, _share(part) < least, least) for least in _CUTS]


def _share(part: Part) -> Floats:
    return part.table["brain_share"].to_numpy(dtype=np.float64)


def _cut(part: Part, lost: Bools, least: float) -> dict[str, Json]:
    """What dropping the slices `lost` costs; shares have intervals that draw whole patients."""
    level, there = part.slices, part.slices.positive("any")
    silent = not level.known("any").any()
    every = np.ones(len(lost), dtype=bool)
    kept, bled, bleeds_kept = (
        np.bincount(part.study_number, weights=rows) > 0 for rows in (~lost, there, there & ~lost)
    )
    dumped = {"slices": level.mean(lost, every), "positives": level.mean(lost, there)}
    return {
        "least": least,
        "slices_lost": int(lost.sum()),
        "positives_lost": None if silent else int((lost & there).sum()),
        **{f"share_of_{name}": metric.model_dump() if metric else None for name, metric in dumped.items()},
        "rate_before": level.share("any"),
        "rate_after": level.share("any", ~lost),
        "studies_lost": int((~kept).sum()),
        "bleeding_studies_without_bleed": None if silent else int((bled & ~bleeds_kept).sum()),
        "rsna": dict[str, Json](_CUTS[least] or {}) or None,
    }


def _lost(share: Floats) -> list[Json]:
    """Share of the slices below each cut of the curve."""
    below = np.searchsorted(np.sort(share), _CURVE, side="left")
    return list[Json]((below / len(share)).tolist())
