"""How a process of the product ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

_HANGS = """
    import threading
    from ich_triage.cli import supervise

    def {where}():
        print("ready", flush=True)
        threading.Event().wait()

    stop = supervise.stop_event(limit_s=0.5)
    if "{where}" == "stops":
        print("ready", flush=True)
        stop.wait()
    {where}()
"""


@pytest.mark.parametrize("where", ["starts", "stops"])
def test_a_process_that_hangs_when_told_to_end_says_where_and_leaves(where: str) -> None:
    """Neither a start nor an end that is stuck keeps a process from ending; its stack is in the log."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_HANGS.format(where=where))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"in {where}" in errors
