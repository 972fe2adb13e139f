"""Last slice to report stored in the PACS: the whole service, one study at a time, stage by stage.

The times are the service's own ledger; that the report is there is asked of the PACS.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from ich_triage.cli.demo_pacs import StandInPacs, free_port, start_pacs
from ich_triage.cli.demo_service import running, write_config
from ich_triage.cli.lists import read_worklist
from ich_triage.dicom import scu
from ich_triage.domain.states import OutputKind
from ich_triage.phantom.dicom import write_study
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw
from ich_triage.settings import Settings
from ich_triage.store.database import Database
from ich_triage.worklist.document import Json

from .table import Rows

SLICES, STUDIES = 32, 7
LIMIT_S = 120.0
STAGES = ("complete", "started", "inferred", "stored", "sent")


def run() -> Rows:
    """For each stage: seconds since the last slice, and since the stage before; medians over `STUDIES`."""
    with tempfile.TemporaryDirectory(prefix="bench-latency-") as name:
        folder = Path(name)
        studies = [
            write_study(generate(draw(seed, slices=SLICES)), folder / f"study-{seed}")
            for seed in range(1, STUDIES + 1)
        ]
        peer = scu.Peer(host="127.0.0.1", port=free_port(), ae_title="ICH_TRIAGE")
        with start_pacs(folder / "pacs", peer.port) as pacs:
            config = write_config(folder, peer.port, pacs)
            with running(folder, config, peer) as database:
                ledgers = [_one(files, peer, pacs, database) for files in studies]
    return _rows(ledgers)


def _wait(ready: Callable[[], bool]) -> None:
    deadline = monotonic() + LIMIT_S
    while not ready():
        if monotonic() > deadline:
            raise RuntimeError("the benchmark waited in vain; see the service's log")
        sleep(0.1)


def _one(files: list[Path], peer: scu.Peer, pacs: StandInPacs, database: Database) -> Json:
    """Send one study, wait for its report, return its ledger."""

    def listed() -> list[Json]:
        return list(read_worklist(Settings(), database, hours=1, limit=99)["studies"])

    before = {
        row["study_instance_uid"] for row in read_worklist(Settings(), database, hours=1, limit=99)["studies"]
    }
    for sent in scu.store(files, peer, calling="SCANNER"):
        assert sent.error is None, sent.error
    found: list[Json] = []

    def reported() -> bool:
        found[:] = [row for row in listed() if row["study_instance_uid"] not in before]
        return bool(found) and found[0]["ledger"].get("sent") is not None

    _wait(reported)
    reports = [each for each in found[0]["deliveries"] if each["kind"] == OutputKind.SR]
    assert pacs.holds(reports[0]["sop_instance_uid"])
    ledger: Json = found[0]["ledger"]
    return ledger


def _rows(ledgers: list[Json]) -> Rows:
    rows: Rows = []
    for before, stage in zip(("last_slice", *STAGES), STAGES, strict=False):
        since_last = [_seconds(each, "last_slice", stage) for each in ledgers]
        rows.append(
            {
                "stage": stage,
                "s_after_last_slice": round(median(since_last), 2),
                "range": f"{min(since_last):.2f} to {max(since_last):.2f}",
                "s_of_this_stage": round(median([_seconds(each, before, stage) for each in ledgers]), 2),
            }
        )
    return rows


def _seconds(ledger: Json, start: str, end: str) -> float:
    return (datetime.fromisoformat(ledger[end]) - datetime.fromisoformat(ledger[start])).total_seconds()
