"""How model packages look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..domain.label import SYNTHETIC

if TYPE_CHECKING:
    from ..model.gate import Check
    from ..model.manifest import Manifest

Json = dict[str, Any]


def packages_table(told: Json) -> RenderableType:
    """Every package, the one in force marked."""
    table = _table("", "package", "version", "weights", "made", "training data")
    for row in told["packages"]:
        mark = "▶" if row["in_force"] else ""
        if row["problem"]:
            table.add_row(mark, Text(row["name"]), Text(row["problem"], "bold red"), "", "", "")
            continue
        table.add_row(
            mark,
            Text(row["name"]),
            Text(row["version"]),
            row["weights_sha256"][:12],
            row["created"][:10],
            Text("synthetic", "yellow") if row["synthetic"] else "real",
        )
    parts: list[RenderableType] = [table, Text(f"\n▶ in force: {told['in_force']}", "dim")]
    if any(row["in_force"] and row.get("synthetic") for row in told["packages"]):
        parts.append(Text(SYNTHETIC, "yellow"))
    return Group(*parts)


def history_table(told: Json) -> RenderableType:
    """Promotions and rollbacks, oldest first."""
    table = _table("#", "when", "what", "in force since", "forced because")
    for entry in told["history"]:
        in_force = entry["package"] or "embedded"
        row = (str(entry["number"]), entry["at"][:19], entry["action"], in_force, entry["forced"] or "")
        table.add_row(*map(Text, row))
    return table


def comparison_table(told: Json) -> RenderableType:
    """Figures of two packages, each with its 95% interval and the number it was measured on."""
    table = _table("figure", *(part for name in told["packages"] for part in (name, "n")))
    for name, pair in told["metrics"].items():
        table.add_row(name, *(cell for metric in pair for cell in _figure(metric)))
    if told["incomparable"]:
        return Group(table, Text(f"\n! {told['incomparable']}", "bold yellow"))
    return table


def checks_table(checks: Sequence[Check]) -> RenderableType:
    """What the gate looked at."""
    table = _table("", "check", "seen")
    for each in checks:
        sign = Text("✓", "green") if each.passed else Text("✗", "red")
        table.add_row(sign, each.name, Text(each.reason))
    return table


def describe(manifest: Manifest) -> RenderableType:
    """Origin and operating points."""
    lines = [Text(f"{manifest.name} {manifest.version}, weights {manifest.weights_sha256}")]
    for name, point in manifest.operating_points.items():
        told = f"threshold {point.threshold:.3f}, sensitivity {point.sensitivity:.3f}"
        lines.append(Text(f"operating point {name}: {told}, specificity {point.specificity:.3f}"))
    for name in sorted(manifest.metrics):
        value, _ = _figure(manifest.metrics[name].model_dump())
        lines.append(Text(f"{name}: {value}"))
    if manifest.synthetic:
        lines.append(Text(SYNTHETIC, "yellow"))
    return Group(*lines)


def _figure(metric: Json | None) -> tuple[str, str]:
    if metric is None:
        return "not measured", ""
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})", str(metric["n"])


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
