"""The JSON that `ich-triage worklist --json` and `ich-triage study UID --json` print; docs/json.md tells it.

Keys are only ever added. Times are ISO 8601 with zone, volumes mL, positions mm in the patient frame (LPS).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ..domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ..domain.labels import LABELS
from ..domain.priority import Order, Rank
from ..domain.states import DeliveryState
from ..store.alive import Alive
from ..store.feedback import sees_bleed
from ..store.summary import of as summary_of
from ..store.tables import Delivery, Feedback, Problem, Revision, Study
from ..store.worklist import Row

Json = dict[str, Any]
#: what is not to be waited for
_NEVER_SENT = (DeliveryState.DEAD, DeliveryState.SUPERSEDED)


def worklist(rows: Sequence[Row], counts: dict[str, int], order: Order, alive: Alive) -> Json:
    """The list in reading order, without the per-slice detail."""
    now = order.now
    return {
        "label": PRIORITISATION_ONLY,
        "generated_at": now.isoformat(),
        "receivers": alive.receivers,
        "workers": alive.workers,
        "counts": counts,
        "studies": [summary(row, order) for row in rows],
    }


def study(row: Row, revisions: Sequence[Revision], problems: Sequence[Problem], order: Order) -> Json:
    """Everything known of one study."""
    shown = row.decided or row.newest
    return summary(row, order) | {
        "label": PRIORITISATION_ONLY,
        "reported_revision": row.reported.number if row.reported else None,
        "series": _series(shown),
        "slices": _slices(row.decided),
        "revisions": [_revision(revision) for revision in revisions],
        "problems": [
            {"at": problem.at.isoformat(), "kind": problem.kind, "detail": problem.detail}
            for problem in problems
        ],
    }


def summary(row: Row, order: Order) -> Json:
    """One line of the list."""
    shown = row.decided or row.newest
    sent = row.reported or row.newest
    return {
        "study_instance_uid": row.study.study_instance_uid,
        "patient_name": row.study.patient_name,
        "patient_id": row.study.patient_id,
        "accession_number": row.study.accession_number,
        "study_description": row.study.study_description,
        "study_date": row.study.study_date,
        "calling_ae_title": row.study.calling_ae_title,
        "instances": row.study.instance_count,
        "images_removed_at": _time(row.study.images_removed_at),
        "state": row.study.state,
        "reason": _reason(row.study),
        "priority": row.study.rank,
        "place": order.place(Rank(row.study.rank), row.study.first_slice_at),
        "stat": row.study.stat,
        "waiting_s": round((order.now - row.study.first_slice_at).total_seconds(), 3),
        "revision": row.study.revision,
        "analysis": _analysis(row),
        "ledger": _ledger(row.study, shown),
        "deliveries": [delivery(each) for each in sent.deliveries] if sent else [],
        "feedback": [opinion(each) for each in row.feedback],
    }


def opinion(each: Feedback) -> Json:
    """What one reader says."""
    return {
        "reader": each.reader,
        "agrees": each.agrees,
        "sees_bleed": sees_bleed(each),
        "subtypes": each.subtypes,
        "note": each.note,
        "at": each.at.isoformat(),
        "revision": each.revision.number,
        "weights_sha256": each.weights_sha256,
    }


def delivery(each: Delivery) -> Json:
    """One object on its way."""
    return {
        "id": each.id,
        "destination": each.destination,
        "kind": each.kind,
        "sop_instance_uid": each.sop_instance_uid,
        "path": each.path,
        "state": each.state,
        "attempts": each.attempts,
        "next_attempt_at": _time(each.next_attempt_at),
        "last_error": each.last_error,
        "sent_at": _time(each.sent_at),
        "committed_at": _time(each.committed_at),
    }


def _revision(revision: Revision) -> Json:
    return {
        "number": revision.number,
        "state": revision.state,
        "reason": _reason(revision),
        "same_as": revision.same_as,
        "attempts": revision.attempts,
        "ledger": _ledger(revision.study, revision),
        "deliveries": [delivery(each) for each in revision.deliveries],
    }


def _reason(of: Study | Revision) -> Json | None:
    return {"code": of.reason_code, "text": of.reason} if of.reason_code else None


def _analysis(row: Row) -> Json | None:
    """What the model said; the slices stand apart, since they are many."""
    revision = row.decided
    analysis = summary_of(revision) if revision else None
    if revision is None or analysis is None:
        return None
    package = analysis["package"]
    return {
        "revision": revision.number,
        "covers_all": row.covers_all,
        "package": package,
        "warning": SYNTHETIC if package["synthetic"] else None,
        "operating_point": analysis["operating_point"],
        "threshold": analysis["threshold"],
        "flagged": analysis["flagged"],
        "probabilities": _labelled(analysis["probabilities"]),
        "findings": [_finding(finding) for finding in analysis["findings"]],
    }


def _series(revision: Revision | None) -> Json | None:
    if revision is None or revision.selection is None:
        return None
    return {key: revision.selection[key] for key in ("chosen", "rejected")}


def _finding(finding: Json) -> Json:
    """A finding, its key slice named by UID too."""
    told = {key: value for key, value in finding.items() if key != "key_image"}
    return told | {"key_slice": {"index": finding["key_slice"]} | finding["key_image"]}


def _slices(revision: Revision | None) -> list[Json]:
    if revision is None or revision.analysis is None:
        return []
    return [
        {
            "index": index,
            "position_mm": each["position_mm"],
            "probabilities": _labelled(each["probabilities"]),
        }
        | each["image"]
        for index, each in enumerate(revision.analysis["slices"])
    ]


def _labelled(probabilities: Iterable[float]) -> dict[str, float]:
    return dict(zip(LABELS, probabilities, strict=True))


def _ledger(of: Study, revision: Revision | None) -> Json:
    """When each stage was reached, and seconds from the last slice to the last report stored elsewhere."""
    if revision is None:
        return {"first_slice": _time(of.first_slice_at), "last_slice": _time(of.last_slice_at)}
    wanted = [each for each in revision.deliveries if each.state not in _NEVER_SENT]
    all_sent = bool(wanted) and all(each.sent_at for each in wanted)
    sent = max((each.sent_at for each in wanted if each.sent_at), default=None) if all_sent else None
    committed = max((each.committed_at for each in wanted if each.committed_at), default=None)
    return {
        "first_slice": _time(revision.first_slice_at),
        "last_slice": _time(revision.last_slice_at),
        "complete": _time(revision.complete_at),
        "completed_by": revision.completed_by,
        "started": _time(revision.started_at),
        "inferred": _time(revision.inferred_at),
        "stored": _time(revision.stored_at),
        "last_slice_to_stored_s": _seconds(revision.last_slice_at, revision.stored_at),
        "sent": _time(sent),
        "committed": _time(committed),
        "last_slice_to_sent_s": _seconds(revision.last_slice_at, sent),
    }


def _seconds(begin: datetime, end: datetime | None) -> float | None:
    return round((end - begin).total_seconds(), 3) if end else None


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
