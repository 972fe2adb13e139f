"""Configuration files, studies put where the receiver would have put them, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from ich_triage.dicom.contexts import CT_IMAGE_CLASSES
from ich_triage.dicom.scu import Peer
from ich_triage.domain.priority import Order
from ich_triage.domain.states import CompletedBy
from ich_triage.intake.header import read
from ich_triage.intake.spool import Arrival
from ich_triage.settings import Worklist
from ich_triage.store import deliveries, problems, revisions, studies
from ich_triage.store import worklist as query
from ich_triage.store.alive import Alive
from ich_triage.store.database import Database
from ich_triage.store.instances import Indexed, index
from ich_triage.worklist import document
from ich_triage.worklist.order import reading_order

Json = dict[str, Any]


def write_config(
    folder: Path,
    *,
    database_url: str | None = None,
    port: int = 0,
    destinations: Sequence[Json] = (),
    **sections: Json,
) -> Path:
    """A configuration in `folder` with short waits; `sections` add to or override its keys."""
    values: dict[str, Json] = {
        "dicom": {"host": "127.0.0.1", "port": port},
        "database": {"url": database_url or f"sqlite:///{folder / 'ich.sqlite'}"},
        "spool": {"path": str(folder / "spool"), "reserve_bytes": 1000},
        "web": {"port": 0},
        "assembly": {"quiet_s": 2.0},
        "retention": {"free_bytes": 0},  # else it hung on the disk of the machine what a test finds
        "worker": {"poll_s": 0.05, "heartbeat_s": 0.3, "dead_after_s": 2.0},
        "delivery": {"backoff_s": 0.2, "backoff_max_s": 1.0, "timeout_s": 10.0, "commitment_timeout_s": 3.0},
    }
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    lines = []
    for name, section in values.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
    for destination in destinations:
        lines += ["[[destinations]]", *(f"{key} = {json.dumps(value)}" for key, value in destination.items())]
    path = folder / "config.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def destination(name: str, peer: Peer, *, send: str = "all", commitment: bool = False) -> Json:
    """A `[[destinations]]` table."""
    where = {"host": peer.host, "port": peer.port, "ae_title": peer.ae_title}
    return {"name": name, **where, "send": send, "commitment": commitment}


def put(database: Database, spool: Path, datasets: Sequence[Dataset], *, stat: bool = False) -> None:
    """Into the spool and the index, as the receiver leaves it; no revision is opened."""
    items = []
    for ds in datasets:
        folder = spool / "studies" / str(ds.StudyInstanceUID)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        received = read(Arrival(path=path, received_at=datetime.now(UTC), high_priority=stat))
        items.append(Indexed(received=received, path=path.relative_to(spool).as_posix(), conflict=False))
    with database.write() as session:
        index(session, items, reopening=frozenset(str(uid) for uid in CT_IMAGE_CLASSES))


def complete(database: Database, uid: str, by: CompletedBy = CompletedBy.GEOMETRY) -> int:
    """Open the study's next revision, as assembly and `reprocess` do; returns its id."""
    with database.write() as session:
        revision = revisions.open_revision(session, studies.get(session, uid), by, datetime.now(UTC))
        session.flush()
        return revision.id


def study(database: Database, uid: str) -> Json:
    """What `ich-triage study UID --json` says."""
    with database.read() as session:
        row = query.one(session, uid)
        history = query.revisions(session, row.study)
        return document.study(row, history, problems.of_study(session, uid), an_order())


def worklist(database: Database) -> list[Json]:
    """The studies of `ich-triage worklist --json`."""
    order = an_order()
    with database.read() as session:
        rows = query.page(session, query.Wanted(since=datetime(2000, 1, 1, tzinfo=UTC)), order, limit=1000)
        return list(document.worklist(rows, {}, order, Alive(receivers=1, workers=1))["studies"])


def an_order() -> Order:
    """The reading order of now, with the default rule."""
    return reading_order(Worklist(), datetime.now(UTC))


def all_deliveries(database: Database, uid: str) -> list[Json]:
    """Every delivery of a study."""
    with database.read() as session:
        return [document.delivery(each) for each in deliveries.of_study(session, uid)]
