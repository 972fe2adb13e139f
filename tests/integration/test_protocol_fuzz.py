"""The receiver under hostile bytes, on PDU, DIMSE and data set level: it goes on, and holds no more.

`make fuzz` is the long form; there `tests.fuzz_by_coverage` goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.files import files_below
from tests.forks import REPOSITORY, Fork, Forks
from tests.fuzzing import ECHO, KINDS, MESSAGES, SESSIONS, Attacker, Footprint
from tests.peers import probe_port
from tests.receiving import AE_TITLE
from tests.service import write_config

Wait = Callable[..., None]
Drawn = dict[str, st.SearchStrategy[Any]]

#: cases in all; `make fuzz` is the long form
CASES = int(os.environ.get("FUZZ_CASES", "2000"))
#: cases led by coverage; `make fuzz` has 20,000
COVERED = 200
#: cases between two words on how far it is
NEWS = 1_000
#: how long they may take on a machine that others use, too, s
LIMIT_S = 600 + CASES // 4
#: what of them is on PDU, DIMSE and data set level: an association for each case takes longest
SHARES = (0.1, 0.45, 0.45)
#: cases between two looks at the receiver
LOOK = 250
#: what memory may grow by, MiB: caches of libraries, rows that wait
GROWTH_MIB = 64.0
#: threads and files that come and go by themselves: a pool's thread, a connection of the database
SLACK = 4

MUTATIONS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)
CONTROL = st.sampled_from((0x03, 0x03, 0x03, 0x01, 0x02, 0x00))
CONTEXT = st.sampled_from((0, 0, 0, ECHO, 11))


@pytest.fixture
def receiver(forks: Forks, sqlite: object, tmp_path: Path, wait_until: Wait) -> tuple[Fork, int]:
    """A receiver process of its own, and its port."""
    port, log = probe_port(), tmp_path / "receiver.log"
    dicom = {"ae_title": AE_TITLE, "max_connections_per_minute": 10**9, "network_timeout_s": 5.0}
    config = write_config(tmp_path, port=port, dicom=dicom, log={"level": "error"})
    log.touch()
    fork = forks.start("receiver", log, config=str(config))

    def listens() -> bool:
        try:
            return Attacker(port).is_served()
        except OSError:
            return False

    wait_until(listens, what="the receiver")
    return fork, port


def fuzz(attacker: Attacker, case: Callable[..., None], cases: int, drawn: Drawn) -> None:
    """So many cases, and a look at the receiver now and then."""
    until, run = attacker.cases + cases, 0
    while attacker.cases < until:

        @seed(run)
        @settings(
            max_examples=min(LOOK, until - attacker.cases),
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(**drawn)
        def attack(**values: object) -> None:
            case(**values)

        attack()
        attacker.close()
        assert attacker.is_served()
        run += 1
        if attacker.cases // NEWS > max(0, attacker.cases - LOOK) // NEWS:
            sys.stderr.write(f"{attacker.cases} cases\n")


@pytest.mark.timeout(LIMIT_S)
def test_hostile_bytes_change_nothing(
    receiver: tuple[Fork, int], tmp_path: Path, capsys: pytest.CaptureFixture[str], wait_until: Wait
) -> None:
    """No crash, no stuck thread, no growth of memory, files or threads, nothing left in the spool's way."""
    fork, port = receiver
    attacker, began = Attacker(port), monotonic()
    which = st.integers(0, len(MESSAGES) - 1)
    warm = max(30, CASES // 100)
    levels: tuple[tuple[Callable[..., None], Drawn], ...] = (
        (attacker.session, {"which": st.integers(0, len(SESSIONS) - 1), "mutations": MUTATIONS}),
        (attacker.command, {"which": which, "mutations": MUTATIONS, "control": CONTROL, "context": CONTEXT}),
        (attacker.data_set, {"which": which, "mutations": MUTATIONS, "cuts": st.integers(0, 3)}),
    )
    for case, drawn in levels:
        fuzz(attacker, case, warm, drawn)
    sleep(1.0)
    before = Footprint.of(fork.pid)
    for (case, drawn), share in zip(levels, SHARES, strict=True):
        fuzz(attacker, case, int(CASES * share), drawn)
    took_s = monotonic() - began
    spool = tmp_path / "spool"
    wait_until(lambda: not list((spool / "inbox").iterdir()), limit_s=300.0, what="an empty inbox")
    like = Footprint(rss_mib=0, files=before.files + SLACK, threads=before.threads + SLACK)
    after = Footprint.settled(fork.pid, like=like)
    with capsys.disabled():
        sys.stdout.write(f"\n{attacker.cases} cases in {took_s:.0f} s\nbefore {before}\nafter  {after}\n")
    assert attacker.cases >= CASES and fork.alive
    assert after.files <= like.files and after.threads <= like.threads
    assert after.rss_mib - before.rss_mib < GROWTH_MIB
    arriving = [each for each in files_below(spool / "incoming") if not each.name.startswith(".")]
    assert arriving == []
    told = fork.log.read_text()
    assert "Traceback" not in told and "Exception" not in told


def test_the_form_led_by_coverage_comes_to_its_end() -> None:
    """A few cases of it, so that it is there when it is wanted."""
    pytest.importorskip("atheris")
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz_by_coverage", str(COVERED)]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert told.returncode == 0, told.stderr[-2000:]
    assert f"{COVERED} cases" in told.stdout
