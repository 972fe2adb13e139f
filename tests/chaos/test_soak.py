"""The soak: what holds for one study holds for thousands in a row, and nothing piles up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ich_triage.store.database import Database
from tests.forks import REPOSITORY, Forks
from tests.hospital import Hospital
from tests.peers import probe_port
from tests.soak import Soak

Wait = Callable[..., None]
#: what a process may hold more in the last quarter than in the second: share and MB of memory; numbers
GROWTH, GROWTH_MB, MORE = 1.05, 15.0, 4


@pytest.fixture
def soaked(tmp_path: Path, sqlite: Database, forks: Forks, wait_until: Wait) -> Callable[..., Soak]:
    """Runs for so many seconds, then waits until everything is settled, and checks the promises."""

    def run(seconds: float, *, every_s: float, shipped: bool) -> Soak:
        hospital = Hospital(tmp_path, tmp_path, sqlite, forks)
        port = probe_port()
        with hospital.peers(keeps=False):
            config = hospital.configure(
                web={"host": "127.0.0.1", "port": port}, assembly={"quiet_s": 1.5}, log={"level": "warning"}
            )
            with hospital.service(config, worker={"shipped": shipped}, web=True, hurried=False):
                wait_until(lambda: len(hospital.supervised) == 3, what="the processes")
                soak = Soak(hospital, web_port=port)
                soak.run(seconds=seconds, every_s=every_s)
                wait_until(
                    lambda: not hospital.unsettled(), limit_s=600, what="the last reports", every_s=0.3
                )
            hospital.check(sure=not shipped)
        return soak

    return run


@pytest.mark.timeout(300)
def test_twenty_scanners_for_a_moment(soaked: Callable[..., Soak]) -> None:
    """Aborted, repeated, late, with a PACS that goes: nothing lost, nothing doubled, no process died."""
    soak = soaked(6.0, every_s=0.5, shipped=False)
    assert len(soak.manners) == 4
    assert soak.starts() == {"receiver": 1, "worker0": 1, "web": 1}


@pytest.mark.long
@pytest.mark.timeout(3 * 3600)
def test_nothing_piles_up(soaked: Callable[..., Soak]) -> None:
    """Memory, file handles and threads of each process are flat, with the model that ships."""
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    soak = soaked(minutes * 60, every_s=2.0, shipped=True)
    soak.write(REPOSITORY / "build" / "soak")
    for process in ("receiver", "worker0", "web"):
        growth = soak.growth(process)
        before, after = growth["rss_mb"]
        assert after <= GROWTH * before + GROWTH_MB, (process, growth)
        for what in ("handles", "threads"):
            before, after = growth[what]
            assert after <= before + MORE, (process, growth)
