"""How a process of the product ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from ich_triage.store.database import Database
from tests.forks import Fork, Forks
from tests.peers import probe_port
from tests.receiving import AE_TITLE, count_indexed, send
from tests.scanner import ct_slice
from tests.service import write_config

Wait = Callable[..., None]

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


def test_a_rolling_restart_refuses_nobody(
    sqlite: Database, tmp_path: Path, forks: Forks, wait_until: Wait
) -> None:
    """Two receivers on one port: scanners come without a pause while each is told to end and started anew."""
    port = probe_port()
    config = write_config(tmp_path, port=port, dicom={"ae_title": AE_TITLE, "share_ports": True})
    sent: list[int] = []
    done = threading.Event()

    def started(number: int) -> Fork:
        log = tmp_path / f"receiver{number}.log"
        log.touch()
        fork = forks.start("receiver", log, config=str(config))
        wait_until(lambda: "receiver_started" in log.read_text(), what="a receiver that listens")
        return fork

    def scanner() -> None:
        while not done.is_set():
            image = ct_slice(1, study="1.2.3", series="1.2.3.4", pixels=16)
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            sent.extend(send(port, [image]))

    def sends_more() -> None:
        before = len(sent)
        wait_until(lambda: len(sent) >= before + 10, what="more objects")

    with ExitStack() as ending:
        receivers = [started(number) for number in range(2)]
        scanners = [threading.Thread(target=scanner) for _ in range(2)]
        for each in scanners:
            each.start()
        ending.callback(lambda: [each.join() for each in scanners])
        ending.callback(done.set)
        for number, old in enumerate(receivers):
            sends_more()
            old.end(signal.SIGTERM)
            sends_more()
            started(number + 2)
        sends_more()
        ending.close()
        assert set(sent) == {0x0000}
        wait_until(lambda: count_indexed(sqlite) == len(sent), what="the index")
    assert all("receiver_stopped" in each.log.read_text() for each in receivers)
