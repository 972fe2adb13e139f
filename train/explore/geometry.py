"""How many slices a study has, how thick and how far apart they are, how large their pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .part import Floats, Json, Part

#: Bars of a histogram at most; fewer of few values.
_BINS = 30
#: What lies beyond these quantiles is counted in the outermost bins.
_ENDS = (0.002, 0.998)


def geometry(part: Part) -> Json:
    """Distributions of numbers and lengths, and sizes of slices in pixels."""
    series = part.series_rows
    sizes = (series["Rows"].astype(str) + " × " + series["Columns"].astype(str)).value_counts()
    return {
        "distributions": {
            "slices": _numbers(part.study_rows["slices"]),
            "distance_mm": _numbers(series["slice_distance_mm"]),
            "thickness_mm": _numbers(series["thickness_mm"]),
            "pixel_mm": _numbers(series["column_spacing_mm"]),
        },
        "series": len(series),
        "sizes": {str(size): int(count) for size, count in sizes.items()},
    }


def _numbers(values: pd.Series) -> Json:
    """Quantiles and histogram of what is known, and how much is not."""
    known = values.dropna().to_numpy(dtype=np.float64)
    found: dict[str, Json] = {"known": len(known), "unknown": int(values.isna().sum())}
    if not len(known):
        return found | {"quantiles": None, "histogram": None}
    quantiles = np.quantile(known, [0, 0.05, 0.5, 0.95, 1])
    names = ("least", "p5", "median", "p95", "most")
    edges = _edges(known)
    counts, _ = np.histogram(known.clip(edges[0], edges[-1]), edges)
    return found | {
        "quantiles": dict(zip(names, quantiles.tolist(), strict=True)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _edges(known: Floats) -> Floats:
    """Bins around a few distinct values, or else evenly; whole numbers lie in the middle of theirs."""
    low, high = np.quantile(known, _ENDS, method="nearest")
    bins = min(_BINS, 2 + 2 * round(len(known) ** 0.5))
    step = (high - low) / bins
    if (known == np.rint(known)).all():
        step = max(1.0, np.ceil(step))
        return np.asarray(np.arange(low - 0.5, high + 0.5 + step, step))
    if step == 0:
        return np.array([low - 0.05, low + 0.05])
    return np.linspace(low, high, bins + 1)
