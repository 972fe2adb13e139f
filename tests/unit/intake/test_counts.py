"""What a receiver counts while scanners come and go, and whether it is ready for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ich_triage.intake.receiver import Receiver
from ich_triage.store.database import Database
from ich_triage.telemetry import metrics
from ich_triage.telemetry.readiness import Readiness
from tests.receiving import associated, count_indexed, receiving, send
from tests.scanner import head
from tests.scrape import Samples, read

ECHO = [(Verification, ExplicitVRLittleEndian)]


def _told(receiver: Receiver) -> Samples:
    return read(metrics.encode(receiver.registry, "")[0].decode())


def test_associations_and_objects_are_counted(
    sqlite: Database, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """Accepted, rejected by reason, open now; objects with their bytes; what waits for the index."""
    with receiving(sqlite, tmp_path) as receiver:
        assert send(receiver.port, head(3)) == [0, 0, 0]
        with associated(receiver.port, ECHO, called="NOBODY") as rejected:
            assert rejected.is_rejected
        with associated(receiver.port, ECHO) as one:
            assert one.is_established
            wait_until(lambda: _told(receiver)["ich_triage_receiver_associations_open"][()] == 1)
        wait_until(lambda: _told(receiver)["ich_triage_receiver_associations_open"][()] == 0)
        wait_until(lambda: count_indexed(sqlite) == 3)
        told = _told(receiver)
        files = list((tmp_path / "spool" / "studies").glob("*/*.dcm"))
    assert told["ich_triage_receiver_associations_accepted_total"] == {(): 2}
    rejected_for = told["ich_triage_receiver_associations_rejected_total"]
    assert rejected_for[(("reason", "called_ae_title_not_recognized"),)] == 1
    assert sum(rejected_for.values()) == 1
    assert told["ich_triage_receiver_objects_total"] == {(): 3}
    assert told["ich_triage_receiver_objects_bytes_total"] == {(): sum(f.stat().st_size for f in files)}
    assert told["ich_triage_receiver_inbox_objects"] == {(): 0}
    assert told["ich_triage_spool_free_bytes"][()] > 0


def test_a_full_disk_is_counted_and_not_ready(sqlite: Database, tmp_path: Path) -> None:
    """Below the reserve, objects are refused with A700, and whoever asks for readiness hears why."""
    with receiving(sqlite, tmp_path, spool={"reserve_bytes": 1 << 60}) as receiver:
        assert send(receiver.port, head(1)) == [0xA700]
        refused = _told(receiver)["ich_triage_receiver_objects_refused_total"]
        assert refused == {(("status", "A700"),): 1, (("status", "C000"),): 0, (("status", "0122"),): 0}
        ready, told = Readiness(receiver.checks).ask()
    assert (ready, told["spool"]) == (False, "free space is below the reserve")


def test_ready_as_long_as_it_listens_and_can_write(sqlite: Database, tmp_path: Path) -> None:
    """Neither is promised for longer than it holds, and no file is left behind by asking."""
    with receiving(sqlite, tmp_path) as receiver:
        readiness = Readiness(receiver.checks)
        assert readiness.ask() == (True, {"spool": "ok", "listener": "ok"})
        corner = next((tmp_path / "spool" / "incoming").glob("*/"))
        assert [each.name for each in corner.iterdir() if not each.name.startswith(".")] == []
    ready, told = readiness.ask()
    assert not ready
    assert told == {
        "spool": "cannot be written (No such file or directory)",
        "listener": "takes no associations",
    }
