"""What a receiver tells the audit trail while scanners send, and while strangers knock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from structlog.testing import capture_logs

from ich_triage.store.database import Database
from tests.receiving import associated, count_indexed, receiving, send
from tests.scanner import dose_report, head

ECHO = [(Verification, ExplicitVRLittleEndian)]


def _audited(logs: list[Any], event: str) -> list[Any]:
    return [each for each in logs if each.get("audit") and each["event"] == event]


def test_each_study_of_each_association_is_told_once(
    sqlite: Database, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """Who sent it, from where, how many objects of which class; nothing of the patient."""
    first, second = head(3), head(2)
    with capture_logs() as logs, receiving(sqlite, tmp_path) as receiver:
        study = str(first[0].StudyInstanceUID)
        assert send(receiver.port, [*first, dose_report(study), *second], calling="CT1") == [0] * 6
        assert send(receiver.port, head(1, study=study), calling="CT2") == [0]
        wait_until(lambda: count_indexed(sqlite) == 7)
    told = {
        (each["ae_title"], each["study_instance_uid"]): each for each in _audited(logs, "instances_received")
    }
    assert len(told) == len(_audited(logs, "instances_received")) == 3
    mine = told["CT1", study]
    assert mine["address"] == "127.0.0.1"
    assert mine["sop_classes"][CTImageStorage] == 3
    assert sum(mine["sop_classes"].values()) == 4
    assert told["CT2", study]["sop_classes"] == {CTImageStorage: 1}
    assert "Test^Head" not in str(logs)


def test_a_stranger_is_told_once_a_minute(sqlite: Database, tmp_path: Path) -> None:
    """Somebody who knocks all the time does not fill the trail."""
    with capture_logs() as logs, receiving(sqlite, tmp_path) as receiver:
        for _ in range(3):
            with associated(receiver.port, ECHO, called="NOBODY", calling="STRANGER") as rejected:
                assert rejected.is_rejected
    (told,) = _audited(logs, "association_refused")
    assert (told["ae_title"], told["address"]) == ("STRANGER", "127.0.0.1")


def test_what_a_scan_of_the_spool_finds_is_no_transfer(
    sqlite: Database, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """A receiver that starts anew, or on a database that was lost, tells nothing twice."""
    with receiving(sqlite, tmp_path) as receiver:
        send(receiver.port, head(2))
        wait_until(lambda: count_indexed(sqlite) == 2)
    with capture_logs() as logs, receiving(sqlite, tmp_path):
        pass
    assert _audited(logs, "instances_received") == []
