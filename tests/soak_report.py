"""What a soak leaves behind, whether it held or not: `report.md`, its plots beside it, and every sample."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.heads import SLICES
from tests.hospital import Hospital
from tests.soak import AT_ONCE, GROWTH, GROWTH_MB, MORE, SCANNERS, Progress, Sample, Soak

_WORDS = {"rss_mb": "memory, MB", "handles": "file handles", "threads": "threads"}


def write(soak: Soak, hospital: Hospital, folder: Path, *, outcome: str) -> None:
    """`report.md`, `soak.png` and `samples.json`; `outcome` is what came of it, in a sentence."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(_report(soak, hospital, outcome))
    told = {
        "samples": [asdict(each) for each in soak.samples],
        "progress": [asdict(each) for each in soak.progress],
    }
    (folder / "samples.json").write_text(json.dumps(told) + "\n")
    _plot(soak.samples, soak.progress, folder / "soak.png")


def _report(soak: Soak, hospital: Hospital, outcome: str) -> str:
    studies = len(hospital.acknowledged)
    there_s, away_s = soak.pacs_s
    arrivals = hospital.pacs.arrivals
    manners = ", ".join(f"{name} {count:,}" for name, count in sorted(soak.manners.items()))
    starts = ", ".join(f"{name} {count}" for name, count in soak.starts().items())
    rows = {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC at its end",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; "
        f"load average {os.getloadavg()[2]:.1f} over the last 15 minutes",
        "scanners sent for": f"{soak.sent_s / 60:.1f} minutes, {SCANNERS} at once, "
        f"held back above {AT_ONCE} studies under way",
        "studies": f"{studies:,} of {SLICES} slices: {studies / max(soak.sent_s, 1) * 3600:,.0f} an hour",
        "how they came": manners,
        "PACS": f"away {soak.outages} times, for {away_s:g} s after each {there_s:g} s",
        "objects that the PACS has": f"{len(arrivals):,}, in {sum(map(len, arrivals.values())):,} arrivals",
        "starts of each process": starts,
        "most studies under way": str(max((each.unsettled for each in soak.progress), default=0)),
    }
    lines = ["# A soak", "", f"**{outcome}**", "", "| what | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    lines += ["", *_growth(soak), "", "![What each process held, and how far the studies were](soak.png)", ""]
    return "\n".join(lines)


def _growth(soak: Soak) -> list[str]:
    lines = [
        f"Medians in the second and in the last quarter. The last may be {GROWTH:g} times the second and "
        f"{GROWTH_MB:g} MB more, or {MORE} more.",
        "",
        "| process | of | second quarter | last quarter |",
        "| --- | --- | --- | --- |",
    ]
    for process in dict.fromkeys(each.process for each in soak.samples):
        for what, (before, after) in soak.growth(process).items():
            lines.append(f"| {process} | {_WORDS[what]} | {before:.0f} | {after:.0f} |")
    return lines


def _plot(samples: list[Sample], progress: list[Progress], path: Path) -> None:
    from matplotlib.figure import Figure  # takes a second, which other tests need not wait

    figure = Figure(figsize=(10, 11), layout="constrained")
    memory, handles, threads, studies = figure.subplots(4, sharex=True)
    for process in dict.fromkeys(each.process for each in samples):
        own = [each for each in samples if each.process == process]
        minutes = [each.at_s / 60 for each in own]
        memory.plot(minutes, [each.rss / 1e6 for each in own], label=process)
        handles.plot(minutes, [each.handles for each in own], label=process)
        threads.plot(minutes, [each.threads for each in own], label=process)
    minutes = [each.at_s / 60 for each in progress]
    studies.plot(minutes, [each.acknowledged for each in progress], label="acknowledged")
    studies.plot(minutes, [each.unsettled for each in progress], label="not settled yet")
    for axes, label in (
        (memory, "RSS, MB"),
        (handles, "file handles"),
        (threads, "threads"),
        (studies, "studies"),
    ):
        axes.set_ylabel(label)
        axes.legend(loc="upper left")
        away = [each.pacs_away for each in progress]
        axes.fill_between(minutes, 0, 1, where=away, transform=axes.get_xaxis_transform(), alpha=0.15)
        axes.grid(alpha=0.3)
    studies.set_xlabel("minutes; shaded: the PACS is away")
    figure.savefig(path, dpi=90)
