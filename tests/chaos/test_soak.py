"""The soak: what holds for one study holds for thousands in a row, and nothing piles up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ich_triage.store.database import Database
from tests import soak_report
from tests.forks import REPOSITORY, Forks
from tests.hospital import Hospital
from tests.peers import probe_port
from tests.soak import Soak

Wait = Callable[..., None]


@pytest.fixture
def soaked(tmp_path: Path, sqlite: Database, forks: Forks, wait_until: Wait) -> Callable[..., Soak]:
    """Runs for so many seconds, then waits until everything is settled, and checks the promises.

    `shipped`: with the model that ships; `flat`: nothing may have grown. What was seen is in `report`
    afterwards, held or not.
    """

    def run(seconds: float, *, report: Path, shipped: bool = True, flat: bool = True, **often: Any) -> Soak:
        hospital = Hospital(tmp_path, tmp_path, sqlite, forks)
        port = probe_port()
        soak = Soak(hospital, web_port=port, **often)
        outcome = "It did not hold, or did not come to its end."
        with hospital.peers(keeps=False):
            config = hospital.configure(
                web={"host": "127.0.0.1", "port": port}, assembly={"quiet_s": 1.5}, log={"level": "warning"}
            )
            try:
                with hospital.service(config, worker={"shipped": shipped}, others=["web"], hurried=False):
                    wait_until(lambda: len(hospital.supervised) == 3, what="the processes")
                    soak.run(seconds=seconds, every_s=2.0 if flat else 0.5)
                    wait_until(
                        lambda: not hospital.unsettled(), limit_s=600, what="the last reports", every_s=0.3
                    )
                hospital.check(sure=not shipped)
                assert soak.starts() == {"receiver": 1, "worker0": 1, "web": 1}
                assert not flat or soak.grown() == []
                outcome = "It held: every study was reported once, nothing lay about, no process died."
            finally:
                soak_report.write(soak, hospital, report, outcome=outcome)
        return soak

    return run


@pytest.mark.timeout(300)
def test_twenty_scanners_for_a_moment(soaked: Callable[..., Soak], tmp_path: Path) -> None:
    """Aborted, repeated, late, with a PACS that goes: nothing lost, nothing doubled, no process died."""
    report = tmp_path / "report"
    soak = soaked(6.0, shipped=False, flat=False, report=report, pacs_s=(1.0, 1.0))
    assert len(soak.manners) == 4 and soak.outages
    assert "It held" in (report / "report.md").read_text()
    assert (report / "soak.png").stat().st_size > 10_000


@pytest.mark.long
@pytest.mark.timeout(3 * 3600)
def test_nothing_piles_up(soaked: Callable[..., Soak]) -> None:
    """Memory, file handles and threads of each process are flat, with the model that ships."""
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    soaked(minutes * 60, report=REPOSITORY / "build" / "soak")
