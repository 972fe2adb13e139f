"""The product's processes as tests run them: real but for the network, with boundaries to die at."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

import psutil

# everything that a process needs, loaded before the fork
from ich_triage import bootstrap, settings
from ich_triage.cli import app as cli
from ich_triage.cli.supervise import END_S, stop_event, wait_for
from ich_triage.intake import commitment as _commitment
from ich_triage.intake import judge as _judge
from ich_triage.intake import receiver as _receiver  # noqa: F401
from ich_triage.outputs import deliver as _deliver  # noqa: F401
from ich_triage.pipeline import stages as _stages
from ich_triage.pipeline import worker as _worker
from ich_triage.query import service as _service  # noqa: F401
from ich_triage.store.database import Database
from ich_triage.telemetry import logs
from ich_triage.worklist import app as _app  # noqa: F401
from ich_triage.worklist import server as _server  # noqa: F401
from tests import boundaries, hosts
from tests.analyser import ThresholdAnalyser


def worker(
    *,
    config: str,
    hold: str | None = None,
    kills_at: int | None = None,
    breaks_at: int | None = None,
    record: str | None = None,
    eats_mb: int = 0,
    loses_device: str | None = None,
    has_mb: int | None = None,
    plan: str | None = None,
    hurried: bool = False,
    reconciles: bool = True,
    shipped: bool = False,
    host: str | None = None,
) -> None:
    """`ich-triage worker` with the threshold analyser, or with the model in force where that is `shipped`.

    `record` is a file that gets a line for each stage that is run; `plan` names the boundaries to die at;
    `has_mb` is the memory that it can have besides what it has at its start; `hurried` shortens waits that
    are no setting; `host` is one of `tests.hosts`.
    Where rows are made that no queue knows (`tests.listed`), it must not compare the two.
    """
    analyser = ThresholdAnalyser(
        hold=Path(hold) if hold else None,
        kills_at=kills_at,
        breaks_at=breaks_at,
        eats_mb=eats_mb,
        loses_device=Path(loses_device) if loses_device else None,
    )
    if not shipped:
        bootstrap.analyser = lambda *_: (analyser, None)  # type: ignore[assignment, return-value]
    if record:
        _record_stages(Path(record))
    if not reconciles:
        _worker.RECONCILE_S = 86_400.0
    if has_mb:
        own = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (own + has_mb * 1_000_000,) * 2)
    _run("worker", config, plan=plan, hurried=hurried, host=host)


def receiver(
    *,
    config: str,
    plan: str | None = None,
    hurried: bool = False,
    host: str | None = None,
    commitments_held_s: float | None = None,
) -> None:
    """`ich-triage receiver`, on one of `tests.hosts`; `plan` names the boundaries to die at.

    `hurried` shortens waits that are no setting. `commitments_held_s`: how long a request is left to
    the receiver that was asked.
    """
    if commitments_held_s is not None:
        _commitment.HOLD_S = _judge.HOLD_S = commitments_held_s
    _run("receiver", config, plan=plan, hurried=hurried, host=host)


def web(*, config: str, plan: str | None = None, hurried: bool = False, host: str | None = None) -> None:
    """`ich-triage web`; the options are those of `receiver`."""
    _run("web", config, plan=plan, hurried=hurried, host=host)


def query(*, config: str, plan: str | None = None, hurried: bool = False) -> None:
    """`ich-triage query`; the options are those of `receiver`."""
    _run("query", config, plan=plan, hurried=hurried)


def command(*, arguments: list[str], out: str, status: str) -> None:
    """Whatever a user types after `ich-triage`: standard output and the exit status go to these files."""
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    sys.argv = ["ich-triage", *arguments]
    code: int | str | None = 1
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        Path(status).write_text(str(code or 0))


def _run(role: str, config: str, *, plan: str | None, hurried: bool, host: str | None = None) -> None:
    if host:
        hosts.enter(host)
    if hurried:
        boundaries.hurry()
    if plan:
        boundaries.arm(role, Path(plan))
    loaded = settings.load(Path(config))
    logs.configure(loaded.log, process=role)
    process = getattr(bootstrap, role)(loaded, Database(loaded.database.url))
    stop = stop_event(limit_s=END_S)
    process.start()
    wait_for(stop)
    process.stop()


def _record_stages(record: Path) -> None:
    for name in ("select", "analyse", "render", "store"):
        stage = getattr(_stages.Stages, name)

        def run(self: Any, revision_id: int, *rest: Any, stage: Any = stage, name: str = name) -> Any:
            with record.open("a") as file:
                file.write(f"{name} {revision_id}\n")
            return stage(self, revision_id, *rest)

        setattr(_stages.Stages, name, run)
