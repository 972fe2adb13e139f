"""What list, completeness sweep and figures cost with 100 and with 10,000 studies in the database."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from sqlalchemy import insert

from ich_triage.cli.lists import read_worklist
from ich_triage.domain.labels import LABELS
from ich_triage.domain.priority import rank
from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.intake.assembly import Assembly
from ich_triage.intake.associations import Associations
from ich_triage.settings import Settings
from ich_triage.store import figures, migrate, summary
from ich_triage.store.database import Database
from ich_triage.store.tables import Revision, Study

from .table import Rows

SIZES = (100, 10_000)
RECEIVING = 4
SLICES = 32
REPEATS = 30
_FINDING = {
    "subtype": "subdural",
    "probability": 0.912,
    "volume_ml": 23.456,
    "volume_interval_ml": [18.2, 29.9],
    "abc2_ml": 21.0,
    "side": "left",
    "centroid_lps": [48.25, -20.5, 61.75],
    "key_slice": 14,
    "slice_range": [9, 20],
}


def run() -> Rows:
    """Medians; sizes take turns."""
    with tempfile.TemporaryDirectory(prefix="bench-database-") as folder:
        databases = {size: filled(Path(folder) / f"{size}.sqlite", size) for size in SIZES}
        works = {
            "worklist, 50 rows": lambda database: read_worklist(
                Settings(), database, hours=24 * 365, limit=50
            ),
            "completeness sweep": _sweep,
            "figures of a day for Prometheus": _figures,
        }
        rows = [_compare(name, work, databases) for name, work in works.items()]
        for database in databases.values():
            database.close()
    return rows


def _compare(
    name: str, work: Callable[[Database], object], databases: dict[int, Database]
) -> dict[str, object]:
    seconds: dict[int, list[float]] = {size: [] for size in databases}
    for turn in range(REPEATS + 1):
        for size, database in databases.items():
            started = perf_counter()
            work(database)
            if turn:
                seconds[size].append(perf_counter() - started)
    row: dict[str, object] = {"what": name}
    for size, each in seconds.items():
        row[f"{size}_studies_ms"] = round(1000 * median(each), 2)
        row[f"{size}_range_ms"] = f"{1000 * min(each):.1f} to {1000 * max(each):.1f}"
    small, large = (median(seconds[size]) for size in SIZES)
    return row | {"ratio": round(large / small, 2)}


def _sweep(database: Database) -> None:
    Assembly(
        Settings().assembly, database, Associations(), indexed_up_to=lambda now: lambda _study: now
    ).sweep()


def _figures(database: Database) -> None:
    now = datetime.now(UTC)
    with database.read() as session:
        figures.read(session, now=now, since=now - timedelta(days=1), dead_after_s=10)


def filled(path: Path, size: int) -> Database:
    """Final studies with results as large as real ones, and a few that are still receiving."""
    database = Database(f"sqlite:///{path}")
    migrate.upgrade(database)
    now = datetime.now(UTC)
    with database.write() as session:
        session.execute(insert(Study), [_study(number, now) for number in range(1, size + 1)])
        finals = range(RECEIVING + 1, size + 1)
        session.execute(insert(Revision), [_revision(number, now) for number in finals])
    return database


def _study(number: int, now: datetime) -> dict[str, object]:
    receiving = number <= RECEIVING
    state = StudyState.RECEIVING if receiving else _state(number)
    # those that are receiving stay so, however long the benchmark runs
    received = now + timedelta(days=1) if receiving else now - timedelta(minutes=number)
    return {
        "id": number,
        "study_instance_uid": f"2.25.{number}",
        "state": state,
        "rank": rank(state, stat=False),
        "revision": 0 if receiving else 1,
        "first_slice_at": received,
        "last_slice_at": received,
        "assembling_since": received if receiving else None,
        "changed_at": min(received, now - timedelta(hours=1)),
    }


def _state(number: int) -> StudyState:
    return StudyState.FLAGGED if number % 8 == 0 else StudyState.NOT_FLAGGED


def _revision(number: int, now: datetime) -> dict[str, object]:
    at = now - timedelta(minutes=number)
    answer = _analysis(number)
    return {
        "study_id": number,
        "number": 1,
        "state": _state(number),
        "completed_by": CompletedBy.GEOMETRY,
        "last_instance_id": 0,
        "first_slice_at": at,
        "last_slice_at": at,
        "complete_at": at,
        "enqueued_at": at,
        "stored_at": at,
        "analysis": answer,
        "summary": summary.make(answer),
    }


def _analysis(number: int) -> dict[str, Any]:
    flagged = _state(number) is StudyState.FLAGGED
    return {
        "package": {"name": "bench", "version": "0", "weights_sha256": "0" * 64, "synthetic": True},
        "operating_point": "balanced",
        "threshold": 0.5,
        "flagged": flagged,
        "probabilities": [0.1] * len(LABELS),
        "findings": [_FINDING] if flagged else [],
        "slices": [
            {
                "image": {
                    "sop_class_uid": "1.2",
                    "sop_instance_uid": f"2.25.{number}.{index}",
                    "frame_number": None,
                },
                "position_mm": 5.0 * index,
                "probabilities": [0.123456789] * len(LABELS),
            }
            for index in range(SLICES)
        ],
    }
