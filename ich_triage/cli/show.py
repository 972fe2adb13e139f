"""How the documents of `worklist/document.py` look in a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..domain.labels import ABBREVIATIONS, Subtype
from ..domain.states import StudyState

#: a word, a sign and a colour, so that no state is told by colour alone
STATES: dict[str, tuple[str, str]] = {
    StudyState.FLAGGED: ("▲ FLAGGED", "bold red"),
    StudyState.NOT_FLAGGED: ("· not flagged", "dim"),
    StudyState.NOT_ANALYSED: ("? NOT ANALYSED", "bold yellow"),
    StudyState.FAILED: ("✗ FAILED", "bold magenta"),
    StudyState.IN_PROGRESS: ("… in progress", "cyan"),
    StudyState.RECEIVING: ("↓ receiving", "blue"),
}


#: keys of a ledger, in order
STAGES = ("first_slice", "last_slice", "complete", "started", "inferred", "stored", "sent", "committed")


def worklist_table(told: dict[str, Any]) -> RenderableType:
    """The list, with the honest label under it and, where nobody analyses, that too."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("state", "waiting", "patient", "accession", "study", "finding", "to PACS"):
        table.add_column(heading, overflow="fold")
    table.columns[1].justify = table.columns[6].justify = "right"
    for row in told["studies"]:
        table.add_row(
            _state(row["state"]),
            _duration(row["waiting_s"]),
            Text(row["patient_name"]),
            Text(row["accession_number"]),
            Text(row["study_instance_uid"]),
            _finding(row),
            _to_pacs(row),
        )
    counts = "  ".join(f"{name.replace('_', ' ')} {number}" for name, number in told["counts"].items())
    parts: list[RenderableType] = [table]
    if not told["receivers"]:
        parts.append(
            Text("\n✗ NO RECEIVER IS ALIVE: no scanner can send; see `ich-triage doctor`", "bold red")
        )
    if not told["workers"]:
        parts.append(Text("\n✗ NO WORKER IS ALIVE: nothing is analysed; see `ich-triage doctor`", "bold red"))
    return Group(*parts, Text(f"\n{counts or 'no studies'}\n{told['label']}", style="dim"))


def _state(state: str) -> Text:
    return Text(*STATES[state])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _finding(row: dict[str, Any]) -> Text:
    """The findings in words, or why there are none; and why a look after a flag came to nothing."""
    analysis, reason = row["analysis"], row["reason"]["text"] if row["reason"] else ""
    if analysis is None:
        return Text(reason)
    text = f"any {analysis['probabilities']['any']:.0%}"
    if analysis["flagged"]:
        text += "".join(f", {_finding_words(finding)}" for finding in analysis["findings"])
    text += " (synthetic model)" if analysis["warning"] else ""
    return Text("; then: ".join(filter(None, (text, reason))))


def _finding_words(finding: dict[str, Any]) -> str:
    words = [ABBREVIATIONS[Subtype(finding["subtype"])], f"{finding['probability']:.0%}"]
    if finding["side"]:
        words.append(finding["side"])
    if finding["volume_ml"] is not None:
        words.append(f"{finding['volume_ml']:.1f} mL")
    return " ".join(words)


def _to_pacs(row: dict[str, Any]) -> str:
    """Seconds from the last slice to the last report stored, or where the deliveries stand."""
    seconds = row["ledger"].get("last_slice_to_sent_s")
    if seconds is not None:
        return f"{seconds:.1f} s"
    return ", ".join(sorted({each["state"] for each in row["deliveries"]}))


def study_view(told: dict[str, Any]) -> RenderableType:
    """Everything known of one study."""
    parts: list[RenderableType] = [_heading(told)]
    if told["analysis"]:
        parts += [Text("\nFindings", style="bold"), _findings(told)]
    if told["series"]:
        parts += [Text("\nSeries", style="bold"), _series(told["series"])]
    parts += [Text("\nLedger", style="bold"), _ledger(told)]
    deliveries = [each for revision in told["revisions"] for each in revision["deliveries"]]
    if deliveries:
        parts += [Text("\nDeliveries", style="bold"), _deliveries(told["revisions"])]
    if told["problems"]:
        parts.append(Text("\nProblems", style="bold"))
        parts += [Text(f"{each['at']}  {each['kind']}: {each['detail']}") for each in told["problems"]]
    parts.append(Text(f"\n{told['label']}", style="dim"))
    return Group(*parts)


def _heading(told: dict[str, Any]) -> RenderableType:
    reason = f": {told['reason']['text']}" if told["reason"] else ""
    gone = told["images_removed_at"] if not told["instances"] else None
    kept = f"images removed by retention on {gone[:10]}" if gone else f"{told['instances']} objects"
    return Group(
        Text.assemble(_state(told["state"]), Text(reason)),
        Text(f"study {told['study_instance_uid']}, revision {told['revision']}, {kept}"),
        Text(
            f"patient {told['patient_name'] or '-'}, id {told['patient_id'] or '-'}, "
            f"accession {told['accession_number'] or '-'}, from {told['calling_ae_title']}"
        ),
    )


def _findings(told: dict[str, Any]) -> RenderableType:
    analysis = told["analysis"]
    package = analysis["package"]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("subtype", "probability", "volume mL", "side", "key slice", "slices"):
        table.add_column(heading)
    for each in analysis["findings"]:
        low, high = each["volume_interval_ml"] or (None, None)
        volume = "-" if each["volume_ml"] is None else f"{each['volume_ml']:.1f} ({low:.1f} to {high:.1f})"
        table.add_row(
            each["subtype"],
            f"{each['probability']:.3f}",
            volume,
            each["side"] or "-",
            f"{each['key_slice']['index'] + 1}",
            f"{each['slice_range'][0] + 1} to {each['slice_range'][1] + 1}",
        )
    scores = ", ".join(f"{name} {value:.3f}" for name, value in analysis["probabilities"].items())
    said_by = (
        f"model {package['name']} {package['version']} ({package['weights_sha256'][:12]}), operating point "
        f"{analysis['operating_point']}, threshold {analysis['threshold']:.3f}"
    )
    warning = [Text(analysis["warning"], style="yellow")] if analysis["warning"] else []
    return Group(Text(scores), table, Text(said_by), *warning)


def _series(series: dict[str, Any]) -> RenderableType:
    lines = []
    if chosen := series.get("chosen"):
        lines.append(_series_line("chosen", chosen))
    return Group(*lines, *(_series_line("not   ", each) for each in series.get("rejected", [])))


def _series_line(verdict: str, series: dict[str, Any]) -> Text:
    return Text(f"{verdict}  {series['series_instance_uid']}  {series['description']}: {series['reason']}")


def _ledger(told: dict[str, Any]) -> RenderableType:
    """Each stage with its distance from the last slice."""
    ledger = told["ledger"]
    last = datetime.fromisoformat(ledger["last_slice"])
    table = Table(box=None, show_header=False, pad_edge=False)
    for stage in STAGES:
        moment = ledger.get(stage)
        after = (datetime.fromisoformat(moment) - last).total_seconds() if moment else None
        note = f"by {ledger['completed_by']}" if stage == "complete" else ""
        table.add_row(stage, moment or "-", "" if after is None else f"{after:+.2f} s", note)
    return table


def _deliveries(revisions: list[dict[str, Any]]) -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("revision", "destination", "kind", "state", "attempts", "last error", "SOP Instance UID"):
        table.add_column(heading, overflow="fold")
    for revision in revisions:
        for each in revision["deliveries"]:
            table.add_row(
                str(revision["number"]),
                each["destination"],
                each["kind"],
                each["state"],
                str(each["attempts"]),
                Text(each["last_error"] or ""),
                each["sop_instance_uid"],
            )
    return table
