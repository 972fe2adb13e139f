"""The exploration's charts, each as one SVG of what the JSON says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ich_triage.domain.labels import ABBREVIATIONS, LABELS, SUBTYPES

from ..report.charts import BLUE, GREY, ORANGE, figure_of, svg

#: A part of the exploration's content, or what is in it.
Content = Mapping[str, Any]

#: What is counted, its colour, and in words.
_KINDS = (("positive", ORANGE, "with a bleed"), ("negative", BLUE, "without"), ("unknown", GREY, "unknown"))
#: Lengths and numbers: title, unit of the axis, what is counted.
_LENGTHS = {
    "slices": ("slices of a study", "slices", "studies"),
    "distance_mm": ("distance of slices", "mm", "series"),
    "thickness_mm": ("thickness, as stated", "mm", "series"),
    "pixel_mm": ("distance of columns", "mm", "series"),
}
_SHORT = dict(ABBREVIATIONS) | {"any": "any"}
#: Lines of kinds of stored pixels, told apart without colours, too.
_LINES = ((BLUE, "-"), (ORANGE, "--"), ("black", ":"), (GREY, "-."))


def labels(part: Content) -> str | None:
    """Share of slices and of studies with each label, and of those with a bleed beside the RSNA set's."""
    found = part["labels"]
    panels = [
        (found[level], key, f"of {level}{words}, %")
        for level in ("slices", "studies")
        for key, words in (("share", ""), ("share_of_bleeding", " with a bleed"))
        if found[level]["any"]["share"] and found[level]["any"]["positive"]
    ]
    if not panels:
        return None
    figure, row = figure_of(len(panels), (2.5 * len(panels) + 0.6, 2.9))
    for axes, (level, key, words) in zip(row, panels, strict=True):
        names = LABELS if key == "share" else SUBTYPES
        for y, label in enumerate(names):
            _interval(axes, level[label][key], y)
        if "slices with" in words:
            rsna = [100 * found["rsna_share_of_bleeding"][label] for label in names]
            axes.plot(rsna, range(len(names)), "D", color=ORANGE, ms=4, label="RSNA 2019 set", zorder=3)
        axes.set_yticks(
            range(len(names)), [_SHORT[label] + ("" if level[label][key] else ", unknown") for label in names]
        )
        axes.set(xlabel=words, ylim=(len(names) - 0.4, -0.6))
        axes.set_xlim(left=0)
    _legend(figure, row)
    return svg(figure)


def _interval(axes: Axes, found: Content | None, y: float) -> None:
    """A share in percent as a bar, with its interval where there are several patients."""
    if not found:
        return
    axes.barh(y, 100 * found["value"], color=BLUE, height=0.6)
    if found["n"] > 1:
        reach = [[100 * (found["value"] - found["low"])], [100 * (found["high"] - found["value"])]]
        axes.errorbar(100 * found["value"], y, xerr=reach, fmt="none", ecolor="black", lw=1, capsize=2)


def together(part: Content) -> str | None:
    """Of the slices (studies) with one subtype, how many have another, too."""
    found = {name: level for name, level in part["together"].items() if level}
    if not found:
        return None
    figure, row = figure_of(len(found), (4.1 * len(found) + 0.3, 3.7))
    names = [_SHORT[kind] for kind in SUBTYPES]
    for axes, (name, level) in zip(row, found.items(), strict=True):
        share, pairs = np.array(level["share"]), np.array(level["pairs"])
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for y, x in np.ndindex(*share.shape):
            words = f"{pairs[y, x]:,}" if x == y else f"{pairs[y, x]:,}\n{share[y, x]:.0%}"
            ink = "white" if share[y, x] > 0.6 else "black"
            axes.text(x, y, words, ha="center", va="center", fontsize=8, color=ink)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=name, xlabel="have, too", ylabel=f"{name} with")
    return svg(figure)


def storage(part: Content) -> str:
    """Slices of each kind of stored pixels, and how many of them have a bleed."""
    rows = part["storage"]
    names = [group_name(row["bits_stored"], row["pixel_representation"]) for row in rows]
    known = any(row["positive"] for row in rows)
    figure, panels = figure_of(1 + known, (4.4 * (1 + known) + 0.4, 1.2 + 0.34 * len(rows)))
    _stack(panels[0], [row["labels"] for row in rows])
    panels[0].set(xlabel="slices")
    if known:
        for y, row in enumerate(rows):
            _interval(panels[1], row["positive"], y)
        panels[1].set(xlabel="with a bleed, % of slices where that is known")
        panels[1].set_xlim(left=0)
    for axes in panels:
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
    _legend(figure, panels)
    return svg(figure)


def group_name(bits: int, signed: int) -> str:
    """A kind of stored pixels in words."""
    return f"{bits} bits, {'signed' if signed else 'unsigned'}"


def _stack(axes: Axes, counts: Sequence[Content]) -> None:
    """Horizontal bars of rows with a bleed, without, unknown; kinds that do not occur have no colour."""
    left = np.zeros(len(counts))
    for kind, colour, name in _KINDS:
        width = np.array([each[kind] for each in counts], dtype=float)
        if width.any():
            axes.barh(range(len(counts)), width, left=left, color=colour, label=name, height=0.6)
        left += width


def brain(part: Content) -> str:
    """Distribution of the brain share, positive rate by bin, and what each cut would lose."""
    found = part["brain"]
    known = any(row["rate"] for row in found["bins"])
    figure, panels = figure_of(2 + known, (3.7 * (2 + known), 3.1))
    _brain_histogram(panels[0], found["histogram"])
    _losses(panels[-1], found)
    if known:
        for x, row in enumerate(found["bins"]):
            if rate := row["rate"]:
                reach = [[100 * (rate["value"] - rate["low"])], [100 * (rate["high"] - rate["value"])]]
                panels[1].bar(x, 100 * rate["value"], color=BLUE, width=0.7)
                panels[1].errorbar(
                    x, 100 * rate["value"], yerr=reach, fmt="none", ecolor="black", lw=1, capsize=2
                )
        names = [f"{100 * row['from']:.0f}–{100 * row['to']:.0f}" for row in found["bins"]]
        panels[1].set_xticks(range(len(names)), names)
        panels[1].set(xlabel="brain share, %", ylabel="with a bleed, % of slices")
    return svg(figure)


def _brain_histogram(axes: Axes, found: Content) -> None:
    edges, bottom = 100 * np.array(found["edges"]), np.zeros(len(found["edges"]) - 1)
    for kind, colour, name in reversed(_KINDS):
        counts = np.array(found[kind])
        if counts.any():
            axes.stairs(bottom + counts, edges, baseline=bottom, fill=True, color=colour, label=name)
        bottom = bottom + counts
    last = np.flatnonzero(bottom)[-1] + 1
    axes.set(xlabel="brain share, %", ylabel="slices", xlim=(0, edges[last]), ylim=(0, 1.3 * bottom.max()))
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _losses(axes: Axes, found: Content) -> None:
    curve = found["curve"]
    least = 100 * np.array(curve["least"])
    axes.plot(least, 100 * np.array(curve["slices"]), color=BLUE, label="slices")
    if curve["positives"]:
        axes.plot(
            least, 100 * np.array(curve["positives"]), color=ORANGE, ls="--", label="slices with a bleed"
        )
    for cut in found["cuts"]:
        axes.axvline(100 * cut["least"], color=GREY, lw=1, ls=":")
    axes.set(xlabel="least brain share, %", ylabel="lost by the cut, %", ylim=(-2, 102))
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def geometry(part: Content) -> str | None:
    """Numbers and lengths that are known and differ."""
    found = {
        name: each
        for name, each in part["geometry"]["distributions"].items()
        if each["quantiles"] and each["quantiles"]["least"] < each["quantiles"]["most"]
    }
    if not found:
        return None
    figure, panels = figure_of(len(found), (2.9 * len(found), 2.6))
    for axes, (name, each) in zip(panels, found.items(), strict=True):
        edges, counts = np.array(each["histogram"]["edges"]), each["histogram"]["counts"]
        axes.stairs(counts, edges, fill=True, color=BLUE)
        axes.set_ylim(bottom=0)
        title, unit, counted = _LENGTHS[name]
        axes.set(xlabel=unit, ylabel=counted)
        axes.set_title(title, fontsize=9)
        axes.locator_params(axis="x", nbins=5)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return svg(figure)


def frequency(found: Content) -> str:
    """How often each HU is in the sample, and where the bins put it."""
    figure, panels = figure_of(2, (8.4, 3.1))
    values, groups = found["histogram"]["edges"], found["histogram"]["groups"]
    for number, row in enumerate(groups):
        name = group_name(row["bits_stored"], row["pixel_representation"])
        colour, line = _LINES[number % len(_LINES)]
        share = 100 * np.array(row["share"])
        panels[0].step(values[:-1], share, where="post", color=colour, ls=line, lw=1, label=name)
    panels[0].set(xlabel="HU", ylabel="% of pixels", yscale="log")
    panels[0].legend(fontsize=8, frameon=False)
    hu = np.array(found["bins"])
    panels[1].plot(hu, np.linspace(0, 1, len(hu)), ".-", color=BLUE, ms=3, lw=1)
    panels[1].set(xlabel="HU", ylabel="grey, 0 to 1")
    return svg(figure)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend below all panels, where any has something to name."""
    named = {
        name: line for axes in panels for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if named:
        figure.legend(
            named.values(),
            named.keys(),
            loc="outside lower center",
            ncols=len(named),
            fontsize=8,
            frameon=False,
        )
