"""How long the service takes to recover from each fault: the last report at the PACS, after the fault's end.

Real processes, with an analyser that takes no time but where a model is loaded anew: what is measured is
waiting and taking over. "None" is how long the same two studies take without a fault. What is over in a
moment counts from then on, a host that is cut off from the cut. On SQLite; the network and the hosts on
PostgreSQL; what this machine does not permit is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from math import nan
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import pytest

from ich_triage.model.package import WEIGHTS
from ich_triage.pipeline.models import Models
from ich_triage.settings import Model
from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.boundaries import write_plan
from tests.faults import (
    EATS_MB,
    LASTING,
    MOMENTS,
    OF_CLOCK,
    OF_DISK,
    OF_MEMORY,
    OF_PLANS,
    OF_WORKERS,
    Fault,
    corrupted,
    lost,
    suffer,
)
from tests.forks import Forks
from tests.heads import tiny_head
from tests.hospital import Hospital
from tests.hosts import NotPermittedError, lan
from tests.network import SilentNetwork
from tests.outages import small_disk
from tests.packages import make_package
from tests.settable_clock import settable_clock
from tests.several_hosts import HOSTS, halves
from tests.several_hosts import Site as SpreadSite

from .scale import site, wait
from .table import Rows

LASTS_S = (2.0, 20.0)
#: of what can be away for long, once
LONG_S = 120.0
REPEATS = 3
#: what a site has, s
DEAD_AFTER_S = 10.0
LIMIT_S = 120.0


def run() -> Rows:
    """Medians; one study before each fault and one while it lasts."""
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
        forks = Forks(settable_clock(folder))
        moments = {"none": _none} | MOMENTS | OF_WORKERS | (OF_CLOCK if forks.clock else {})
        try:
            rows = _on_disk(folder / "moments", forks, moments, 0.0)
            rows += _on_disk(folder / "memory", forks, OF_MEMORY, 0.0, eats_mb=EATS_MB)
            rows += _on_disk(folder / "halves", forks, OF_PLANS, 0.0, planned=True)
            rows += _with_packages(folder / "packages", forks)
            rows += _between_hosts(folder / "hosts", forks)
            for lasts_s in LASTS_S:
                rows += _on_disk(folder / f"disk-{lasts_s:g}", forks, LASTING | OF_DISK, lasts_s)
                with suppress(pytest.skip.Exception):
                    rows += _on_network(folder / f"network-{lasts_s:g}", forks, lasts_s)
            rows += _on_disk(folder / "long", forks, LASTING, LONG_S, repeats=1)
        finally:
            forks.close()
    return rows


def _none(_: Hospital) -> AbstractContextManager[None]:
    return nullcontext()


def _on_disk(
    folder: Path,
    forks: Forks,
    faults: Mapping[str, Fault],
    lasts_s: float,
    *,
    repeats: int = REPEATS,
    planned: bool = False,
    **worker: Any,
) -> Rows:
    """Spool and database are on a small disk of their own; without that right, what takes it is left out.

    `planned`: the processes look for the boundaries at which they are to die; `worker`: see `tests.roles`.
    """
    folder.mkdir()
    with small_disk(folder, size="100m") as disk:
        database = Database(f"sqlite:///{disk / 'ich.sqlite'}")
        migrate.upgrade(database)
        hospital = Hospital(folder, disk, database, forks)
        if planned:
            for role in ("receiver", "worker"):
                write_plan(hospital.plan(role), (), ())
        possible = {name: fault for name, fault in faults.items() if name not in OF_DISK or disk.is_mount()}
        with _open(hospital, worker={"loses_device": str(lost(hospital))} | worker):
            rows = [_row(hospital, name, fault, lasts_s, repeats) for name, fault in possible.items()]
        hospital.check()
        assert hospital.boundaries_left() == {}, "a process was to die and did not"
        database.close()
    return rows


def _with_packages(folder: Path, forks: Forks) -> Rows:
    """Two small packages are published, and the worker has loaded the second one."""
    folder.mkdir()
    database = Database(f"sqlite:///{folder / 'ich.sqlite'}")
    migrate.upgrade(database)
    hospital = Hospital(folder, folder, database, forks)
    settings = Model(registry=folder / "registry", device="cpu", threads=1)
    models = Models(settings, database)
    for number, name in enumerate("ab"):
        published = models.registry.publish(make_package(folder / name, name=name, seed=number))
        models.promote(published, (), after=number, forced=None)
    faults = {
        "worker killed, its model loaded anew": MOMENTS["worker killed"],
        "package corrupted, worker killed": corrupted(published.path / WEIGHTS),
    }
    told = settings.model_dump(mode="json", include={"registry", "device", "threads"})
    with _open(hospital, worker={"shipped": True}, model=told):
        rows = [_row(hospital, name, fault, 0.0) for name, fault in faults.items()]
    hospital.check(sure=False)
    database.close()
    return rows


def _between_hosts(folder: Path, forks: Forks) -> Rows:
    """From the cut, not from its end: others finish the study while the host is away."""
    folder.mkdir()
    rows = []
    for name, lose in (
        ("receiver's host cut off in mid-study", _lose_receiver),
        ("worker's host cut off in an analysis", _lose_worker),
    ):
        took = []
        for number in range(REPEATS):
            try:
                with lan(*HOSTS) as network, site() as here:
                    own = folder / f"{lose.__name__}-{number}"
                    own.mkdir()
                    spread = SpreadSite(network, own, here.database, forks, dead_after_s=DEAD_AFTER_S)
                    with closing(spread):
                        took.append(lose(spread, own))
                        forks.kill_all()
            except (NotPermittedError, FileNotFoundError):
                return []
        rows.append(_described(name, nan, took))
    return rows


def _lose_receiver(spread: SpreadSite, _: Path) -> float:
    for host in ("first", "second"):
        spread.start("receiver", host)
    spread.start("worker", "analysis")
    wait(lambda: spread.listens("first") and spread.listens("second"))
    one, other = halves("1.2.1")
    assert spread.send("first", one) == [0x0000] * len(one)
    spread.network.cut("first")
    began = monotonic()
    assert spread.send("second", other) == [0x0000] * len(other)
    wait(lambda: spread.is_flagged("1.2.1"))
    return monotonic() - began


def _lose_worker(spread: SpreadSite, folder: Path) -> float:
    hold = folder / "hold"
    hold.touch()
    spread.start("receiver", "first")
    spread.start("worker", "analysis", hold=str(hold))
    wait(lambda: spread.listens("first"))
    images = tiny_head(study="1.2.1", clot=True)
    assert spread.send("first", images) == [0x0000] * len(images)
    wait(lambda: spread.has_begun("1.2.1"))
    spread.start("worker", "spare")
    wait(lambda: spread.workers() == 2)
    spread.network.cut("analysis")
    began = monotonic()
    wait(lambda: spread.is_flagged("1.2.1"))
    return monotonic() - began


def _on_network(folder: Path, forks: Forks, lasts_s: float) -> Rows:
    """Packets to PostgreSQL vanish."""
    folder.mkdir()
    with site() as here:
        server = Path(str(here.database.url.query["host"])) / ".s.PGSQL.5432"
        with SilentNetwork(server).serve() as network:
            url = here.database.url.set(host=network.host, port=network.port, query={})
            hospital = Hospital(folder, folder, here.database, forks)
            with _open(hospital, database={"url": url.render_as_string(hide_password=False)}):
                row = _row(hospital, "network to the database silent", lambda _: network.silent(), lasts_s)
            hospital.check()
    return [row]


@contextmanager
def _open(hospital: Hospital, *, worker: dict[str, Any] | None = None, **sections: Any) -> Iterator[None]:
    """With the waits of the configuration as a site has them; `sections` add to it."""
    with hospital.peers():
        config = hospital.configure(
            worker={"poll_s": 0.2, "heartbeat_s": 2.0, "dead_after_s": DEAD_AFTER_S, "max_attempts": 5},
            delivery={"backoff_s": 2.0, "backoff_max_s": 600.0, "commitment_timeout_s": 300.0},
            **sections,
        )
        with hospital.service(config, worker=worker, hurried=False):
            yield


def _row(
    hospital: Hospital, name: str, fault: Fault, lasts_s: float, repeats: int = REPEATS
) -> dict[str, object]:
    limit_s = LIMIT_S + 2 * lasts_s
    return _described(
        name, lasts_s, [suffer(hospital, fault, lasts_s=lasts_s, limit_s=limit_s) for _ in range(repeats)]
    )


def _described(name: str, lasts_s: float, took: Sequence[float]) -> dict[str, object]:
    return {
        "fault": name,
        "lasts_s": lasts_s,
        "recovered_after_s": round(median(took), 1),
        "range": f"{min(took):.1f} to {max(took):.1f}",
    }
