"""The report's charts, each as one SVG on white, so that it reads in light, in dark and on paper."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ich_triage.domain.labels import ABBREVIATIONS, SUBTYPES

#: Told apart with any kind of colour vision (Okabe and Ito 2008).
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "path",
    "svg.hashsalt": "report",
}
_POINT_MARKS = "osD^v"

#: A part of the report's content.
Content = Mapping[str, Any]


def roc(part: Content) -> str | None:
    """ROC with its band, the operating points with their intervals, and the hyperdense count."""
    found = part["roc"]
    if found is None:
        return None
    curve, grid = found["curve"], found["curve"]["false_positive_rate"]
    figure, (axes,) = figure_of(1, (4.4, 4.2))
    axes.fill_between(grid, curve["low"], curve["high"], step="post", color=BLUE, alpha=0.2, lw=0)
    axes.step(
        grid, curve["true_positive_rate"], where="post", color=BLUE, label=_area("package", found["auc"])
    )
    if curve["hyperdense_count"]:
        name = _area("50–90 HU count", found["hyperdense_count_auc"])
        axes.step(grid, curve["hyperdense_count"], where="post", color=ORANGE, ls="--", label=name)
    axes.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1, label="by chance")
    for mark, (name, point) in zip(_POINT_MARKS, part["decisions"].items(), strict=False):
        _cross(axes, point, mark, name)
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return svg(figure)


def _area(name: str, metric: Content) -> str:
    return f"{name}, AUC {metric['value']:.2f} ({metric['low']:.2f}–{metric['high']:.2f})"


def _cross(axes: Axes, point: Content, mark: str, name: str) -> None:
    """An operating point with the intervals of both rates."""
    y, x = point["sensitivity"], point["specificity"]
    axes.errorbar(
        1 - x["value"], y["value"], fmt=mark, color="black", ms=5, lw=1, capsize=2, zorder=3,
        xerr=[[x["high"] - x["value"]], [x["value"] - x["low"]]],
        yerr=[[y["value"] - y["low"]], [y["high"] - y["value"]]],
        label=name.replace("_", " "),
    )  # fmt: skip


def reliability(part: Content) -> str:
    """Observed share against probability, before and after calibration, of studies and of slices.

    A panel says where no label is known.
    """
    figure, panels = figure_of(2, (8.4, 4.0))
    for axes, (kind, found) in zip(panels, part["calibration"].items(), strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1)
        if not found["after"]["bins"]:
            axes.text(0.5, 0.7, "nothing to measure it on", ha="center", color=GREY)
        for when, colour, mark in (("before", ORANGE, "s"), ("after", BLUE, "o")):
            _bins(axes, found[when]["bins"], colour=colour, mark=mark, name=f"{when} calibration")
        kinds = {"study": "studies", "slice": "slices"}
        axes.set(title=kinds[kind], xlabel="probability", ylabel="share with a bleed")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return svg(figure)


def _bins(axes: Axes, bins: Sequence[Content], *, colour: str, mark: str, name: str) -> None:
    x = [each["predicted"] for each in bins]
    y = np.array([[each["observed"][key] for key in ("value", "low", "high")] for each in bins])
    y = y.reshape(-1, 3).T
    reach = [y[0] - y[1], y[2] - y[0]]
    axes.errorbar(x, y[0], yerr=reach, fmt=f"{mark}-", color=colour, ms=4, lw=1, capsize=2, label=name)


def bland_altman(part: Content) -> str | None:
    """Measured minus true volume against their mean, one panel for each subtype that occurs."""
    found = {name: part["volumes"][name] for name in SUBTYPES if part["volumes"][name]["positive"]}
    if not found:
        return None
    figure, panels = figure_of(len(found), (2.0 * len(found) + 0.6, 2.7))
    for axes, (name, row) in zip(panels, found.items(), strict=True):
        true, measured = np.array(row["true_ml"]), np.array(row["measured_ml"])
        axes.plot((true + measured) / 2, measured - true, "o", color=BLUE, ms=3.5, alpha=0.6, mew=0)
        axes.axhline(0, color=GREY, lw=0.8, ls=":")
        for key, line in (("bias_ml", "-"), ("lower_limit_ml", "--"), ("upper_limit_ml", "--")):
            if row[key]:
                axes.axhline(row[key]["value"], color=ORANGE, lw=1, ls=line)
        axes.set_title(f"{ABBREVIATIONS[name]}, n {row['positive']}", fontsize=9)
        axes.set_xlabel("mean of both, mL")
    panels[0].set_ylabel("measured − true, mL")
    return svg(figure)


def sensitivities(part: Content, point: str) -> str:
    """Sensitivity of every subgroup at one operating point, with intervals."""
    rows = [row for row in part["subgroups"] if row["points"][point]["sensitivity"]]
    figure, (axes,) = figure_of(1, (7.4, 0.6 + 0.24 * len(rows)))
    for y, row in enumerate(rows):
        found = row["points"][point]["sensitivity"]
        reach = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
        axes.errorbar(found["value"], y, xerr=reach, fmt="o", color=BLUE, ms=4, lw=1.2, capsize=2)
    whole = part["decisions"][point]["sensitivity"]
    if whole:
        axes.axvline(whole["value"], color=ORANGE, lw=1, ls="--", zorder=0)
    words = [f"{row['kind']}: {row['name']} (n {row['positive']})" for row in rows]
    axes.set_yticks(range(len(rows)), words)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel="sensitivity")
    return svg(figure)


def figure_of(panels: int, inches: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels in a row."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        row = figure.subplots(1, panels, squeeze=False)[0]
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(row)


def svg(figure: Figure) -> str:
    """The figure as SVG, the same text for the same figure."""
    out = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
