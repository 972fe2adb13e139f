"""One line an event, and no patient on it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import logging, warnings, structlog
from ich_triage.errors import SpoolError
from ich_triage.settings import Log
from ich_triage.telemetry.logs import configure

configure(Log(level="info", format={format!r}), process="receiver")
log = structlog.get_logger("ich_triage.test")
log.debug("too_quiet")
log.info("study_complete", study_instance_uid="1.2.3")
logging.getLogger("pynetdicom").error("peer broke off")
logging.getLogger("pynetdicom").info("chatter")
logging.getLogger("pydicom").warning("Invalid value DOE^JOHN")
warnings.warn("Invalid value DOE^JOHN")

def fails(patient_name):
    raise ValueError("cannot take " + patient_name)

try:
    fails("DOE^JOHN")
except ValueError:
    log.exception("failed")
try:
    raise SpoolError("no room")
except SpoolError:
    log.exception("refused")
"""


def _written(form: str) -> str:
    command = [sys.executable, "-c", _PROGRAM.format(format=form)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == ""
    return result.stderr


def test_json_is_one_object_a_line_with_its_process() -> None:
    """Our own events from the level set, third parties' from warning up, each with process and time."""
    entries = [json.loads(line) for line in _written("json").splitlines()]
    assert [entry["event"] for entry in entries] == ["study_complete", "peer broke off", "failed", "refused"]
    assert {entry["process"] for entry in entries} == {"receiver"}
    assert all(entry["timestamp"].endswith("Z") for entry in entries)
    assert entries[0]["study_instance_uid"] == "1.2.3"
    told = [(entry["exception"][0]["exc_type"], entry["exception"][0]["exc_value"]) for entry in entries[2:]]
    assert told == [("ValueError", ""), ("SpoolError", "no room")]
    assert entries[2]["exception"][0]["frames"][-1]["name"] == "fails"


@pytest.mark.risk("R-111")
def test_no_patient_reaches_the_log_by_a_side_door() -> None:
    """Of third parties neither warnings nor errors are quoted, and of no traceback the local variables."""
    for form in ("json", "console"):
        written = _written(form)
        assert "JOHN" not in written
        assert "ValueError" in written and "SpoolError" in written and "no room" in written
