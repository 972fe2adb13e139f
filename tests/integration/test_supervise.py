"""How a process of the product ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

_HANGS = """
    import threading
    from ich_triage.cli import supervise

    class Hangs:
        def stop(self):
            threading.Event().wait()

    supervise.END_S = 0.5
    stop = supervise.stop_event()
    print("ready", flush=True)
    supervise.run_until(stop, Hangs())
"""


def test_a_process_that_hangs_when_it_ends_says_where_and_leaves() -> None:
    """A stuck part cannot keep a process from ending on SIGTERM, and its stack is in the log."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_HANGS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "in stop" in errors
