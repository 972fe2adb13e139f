"""OpenVINO keeps to itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event in {watched} else None)
from ich_triage.inference.openvino_engine import OpenVinoEngine
from ich_triage.inference.engine import self_test
from ich_triage.model.package import Package
self_test(OpenVinoEngine(Package.embedded()))
print(sorted(set(seen)))
"""
#: Every way out of a Python process: connections, name look-ups, other programs.
_WAYS_OUT = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "urllib.Request", "os.system"}


def test_nothing_is_sent_and_nobody_is_asked(tmp_path: Path) -> None:
    """Making and running the engine opens no connection, looks up no name, and leaves no consent file."""
    program = _PROGRAM.format(watched=_WAYS_OUT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={"HOME": str(tmp_path), "PATH": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert not list(tmp_path.rglob("*telemetry*"))
