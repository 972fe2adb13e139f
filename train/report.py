"""What people read about a package: model card, evaluation page, and the same figures as JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ich_triage.domain.labels import LABELS
from ich_triage.model.manifest import Manifest, Metric

Figures = Mapping[str, Metric]
Row = tuple[str, str, str]

_NAMES = {"test": "test (style a)", "held_out": "held-out style (b)"}

_USE = """Intended use: to show, test and develop this software. It re-sorts a reading list; it is no
diagnosis, and "not flagged" is not "negative". It has never seen a patient: its figures say how well it
reads phantoms, nothing about people."""


def card(manifest: Manifest, by_part: Mapping[str, Figures], *, minutes: float) -> str:
    """The model card, Markdown."""
    lines = [f"# Model card: {manifest.name} {manifest.version}", ""]
    if manifest.stamp:
        lines += [f"**{manifest.stamp}**", ""]
    lines += [_USE, "", "## What it is", ""]
    lines += [f"- {name}: {value}" for name, value in _identity(manifest)]
    lines += [f"- made in {minutes:.0f} minutes with `python -m train embedded`", "", "## Figures", ""]
    lines += ["95% intervals: bootstrap by study, Clopper-Pearson for shares. Baselines stand beside.", ""]
    lines += ["| figure | " + " | ".join(_NAMES[part] for part in by_part) + " |"]
    lines += ["| --- |" + " --- |" * len(by_part)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, *cells in _table(by_part)]
    lines += ["", "## Limits", "", *[f"- {limit}" for limit in _LIMITS], ""]
    return "\n".join(lines)


_LIMITS = (
    "Trained on procedural phantoms only; real anatomy, disease and artefacts are wider than they are.",
    "Not made for children, contrast-enhanced series, bone kernels or post-operative heads.",
    "Volumes of subarachnoid blood and of bleeds below 1 mL are rough; see the interval of each finding.",
)


def write(path: Path, manifest: Manifest, by_part: Mapping[str, Figures]) -> None:
    """The evaluation as JSON at `path` and as a page beside it."""
    content = {
        "package": manifest.name,
        "version": manifest.version,
        "weights_sha256": manifest.weights_sha256,
        "stamp": manifest.stamp,
        "operating_points": {name: vars(point) for name, point in manifest.operating_points.items()},
        "figures": {
            part: {name: metric.model_dump() for name, metric in figures.items()}
            for part, figures in by_part.items()
        },
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    path.with_suffix(".html").write_text(_page(manifest, by_part))


def _identity(manifest: Manifest) -> list[tuple[str, str]]:
    data = ", ".join(f"{name} {value}" for name, value in manifest.data.items())
    points = "; ".join(
        f"{name}: from {p.threshold:.3f}, sensitivity {p.sensitivity:.3f}, specificity {p.specificity:.3f}"
        for name, p in manifest.operating_points.items()
    )
    return [
        ("network", f"{manifest.architecture.backbone}, input {manifest.input_spec.size}²"),
        ("labels", ", ".join(LABELS)),
        ("operating points", points),
        ("data", data),
        ("SHA-256 of the weights", manifest.weights_sha256),
        ("code version", manifest.code_version),
    ]


def _table(by_part: Mapping[str, Figures]) -> list[Sequence[str]]:
    names = list(dict.fromkeys(name for figures in by_part.values() for name in figures))
    return [(name, *(_cell(figures.get(name)) for figures in by_part.values())) for name in names]


def _cell(metric: Metric | None) -> str:
    return "–" if metric is None else f"{metric.value:.3f} ({metric.low:.3f}–{metric.high:.3f}), n {metric.n}"


def _page(manifest: Manifest, by_part: Mapping[str, Figures]) -> str:
    def row(cells: Sequence[str], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    identity = "".join(row(pair) for pair in _identity(manifest))
    head = row(["figure", *(_NAMES[part] for part in by_part)], "th")
    body = "".join(row(cells) for cells in _table(by_part))
    stamp = f"<p><strong>{html.escape(manifest.stamp)}</strong></p>" if manifest.stamp else ""
    return (
        "<!doctype html><meta charset=utf-8><title>Evaluation</title>"
        "<style>body{font:15px/1.4 sans-serif;max-width:62em;margin:2em auto}"
        "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}</style>"
        f"<h1>Evaluation of {html.escape(manifest.name)} {html.escape(manifest.version)}</h1>{stamp}"
        f"<p>{html.escape(_USE)}</p><table>{identity}</table><h2>Figures with 95% intervals</h2>"
        f"<table>{head}{body}</table>\n"
    )
