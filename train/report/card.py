"""The model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ich_triage.domain.labels import LABELS
from ich_triage.model.manifest import Manifest, Metric

from . import words

Figures = Mapping[str, Metric]


def card(manifest: Manifest, by_part: Mapping[str, Figures], *, command: str, drawn: bool) -> str:
    """The model card, Markdown; `command`: what made it, `drawn`: whether it was tested on phantoms."""
    names = [words.PARTS[part] if drawn else words.PATIENTS for part in by_part]
    lines = [f"# Model card: {manifest.name} {manifest.version}", ""]
    if manifest.stamp:
        lines += [f"**{manifest.stamp}**", ""]
    lines += [f"Intended use: {words.use(manifest)}", "", "## What it is", ""]
    lines += [f"- {name}: {value}" for name, value in identity(manifest)]
    lines += [f"- made with `{command}`", "", "## Figures", ""]
    lines += ["95% intervals: bootstrap by patient, Clopper-Pearson for shares. Baselines stand beside.", ""]
    lines += ["| figure | " + " | ".join(names) + " |"]
    lines += ["| --- |" + " --- |" * len(by_part)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, *cells in _table(by_part)]
    lines += ["", "Pictures, subgroups and calibration: `evaluation.html` beside this card.", ""]
    lines += ["## Limits", "", *[f"- {limit}" for limit in words.limits(manifest)], ""]
    return "\n".join(lines)


def identity(manifest: Manifest) -> list[tuple[str, str]]:
    """What the package is, as pairs of name and value."""
    points = "; ".join(
        f"{name}: from {p.threshold:.3f}, sensitivity {p.sensitivity:.3f}, specificity {p.specificity:.3f}"
        for name, p in manifest.operating_points.items()
    )
    return [
        ("network", f"{manifest.architecture.backbone}, input {manifest.input_spec.size}²"),
        ("labels", ", ".join(LABELS)),
        ("operating points", points),
        ("data", ", ".join(f"{name} {value}" for name, value in manifest.data.items())),
        ("SHA-256 of the weights", manifest.weights_sha256),
        ("code version", manifest.code_version),
    ]


def _table(by_part: Mapping[str, Figures]) -> list[Sequence[str]]:
    names = list(dict.fromkeys(name for figures in by_part.values() for name in figures))
    return [(name, *(words.in_words(figures.get(name)) for figures in by_part.values())) for name in names]
