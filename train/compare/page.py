"""The comparison as one HTML file and as JSON, in the style of the evaluation report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ich_triage.domain.labels import ABBREVIATIONS

from ..report.charts import BLUE, GREY, ORANGE, figure_of, svg
from ..report.page import environment, svg_uri
from .content import Comparison, content

#: The two files' name.
NAME = "compare"
_TEMPLATES = Path(__file__).parent / "templates"


def write(folder: Path, comparison: Comparison) -> Path:
    """Write `compare.html` and `compare.json` to `folder`, and return the JSON's path."""
    told = content(comparison)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.json"
    chart = svg_uri(_chart(told)) if told["results"] else None
    template = environment(_TEMPLATES).get_template("compare.html")
    short = dict(ABBREVIATIONS) | {"any": "any"}
    path.with_suffix(".html").write_text(template.render(told=told, chart=chart, short=short))
    # Last, so that where the figures are, the page is.
    path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
    return path


def _chart(told: Mapping[str, Any]) -> str:
    """Share of right answers of each row: published, ours both ways with intervals, and the baseline."""
    results = told["results"]
    figure, (axes,) = figure_of(1, (8.4, 1.0 + 0.5 * len(results)))
    for y, result in enumerate(results):
        name = "published" if y == 0 else None
        if result["published"] is not None:
            axes.plot(result["published"], y - 0.2, "kD", ms=5, label=name)
        for way, place, colour in (("as_published", 0, ORANGE), ("mended", 0.2, BLUE)):
            found = result[way]["figures"]["accuracy"]
            reach = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
            label = f"ours, {way.replace('_', ' ')}" if y == 0 else None
            axes.errorbar(
                found["value"], y + place, xerr=reach, fmt="o", color=colour, ms=4, capsize=2, label=label
            )
            axes.plot(found["baseline"], y + place, "|", color=GREY, ms=10, label=_once("base", y, way))
    axes.set_yticks(range(len(results)), [result["title"] for result in results])
    axes.set(ylim=(len(results) - 0.4, -0.6), xlabel="share of right answers")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return svg(figure)


def _once(name: str, row: int, way: str) -> str | None:
    """The legend names each mark once."""
    return name if row == 0 and way == "mended" else None
