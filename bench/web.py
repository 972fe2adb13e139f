"""The web process with 10,000 studies: pages, a change on its way to open pages, pictures, pages at rest."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep

import httpx
import psutil

from ich_triage.cli.demo_pacs import free_port
from ich_triage.domain.roles import Role
from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.intake.header import read
from ich_triage.intake.spool import Arrival
from ich_triage.phantom.dicom import write_study
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw
from ich_triage.store import accounts, passwords, revisions, studies
from ich_triage.store.account_tables import Account
from ich_triage.store.database import Database
from ich_triage.store.instances import Indexed, index
from ich_triage.worklist.access import csrf_token

from .database import filled
from .table import Rows

STUDIES = 10_000
REQUESTS = 200
CHANGES = 20
PAGES = 50
REST_S = 20.0
_PASSWORD = "a benchmark's own words"


def run() -> Rows:
    """Server and client on this machine, over loopback."""
    with tempfile.TemporaryDirectory(prefix="bench-web-") as name:
        folder = Path(name)
        database = filled(folder / "ich.sqlite", STUDIES)
        uid = _with_pictures(database, folder / "spool")
        _add_reader(database)
        with _serving(folder) as (process, address), httpx.Client(base_url=address, timeout=30) as client:
            client.post("/login", data={"name": "reader", "password": _PASSWORD})
            client.headers["X-CSRF-Token"] = csrf_token(client.cookies["ich_session"])
            picture = f"/api/v1/studies/{uid}/pictures"
            told = client.get(picture).json()
            stack, slices = told["stack"], told["slices"]

            def rows_of(**form: object) -> httpx.Response:
                return client.post("/rows", data=form)

            def picture_of(turn: int) -> httpx.Response:
                return client.get(f"{picture}/{turn % slices}", params={"stack": stack})

            asks: dict[str, Callable[[int], httpx.Response]] = {
                "worklist page": lambda _: client.get("/"),
                "rows, one page after the other": lambda turn: rows_of(page=1 + turn % 200),
                "rows, searched": lambda turn: rows_of(search=f"2.25 {turn}"),
                "slice picture, 512²": picture_of,
            }
            rows = [
                *(_times(what, ask, process) for what, ask in asks.items()),
                _change(client, database, uid),
                _rest(client, process),
            ]
        database.close()
    return rows


def _add_reader(database: Database) -> None:
    password = passwords.make_hash(_PASSWORD, "reader")
    with database.write() as session:
        account = Account(name="reader", role=Role.RADIOLOGIST, password_hash=password)
        accounts.add(session, account, now=datetime.now(UTC))


def _times(what: str, ask: Callable[[int], httpx.Response], process: psutil.Process) -> dict[str, object]:
    """Median and 95th percentile of a request, ms, and CPU of the web process; the first is not counted."""
    seconds = []
    ask(0).raise_for_status()
    before = _cpu(process)
    for turn in range(1, REQUESTS + 1):
        started = perf_counter()
        ask(turn).raise_for_status()
        seconds.append(perf_counter() - started)
    return _row(what, seconds, cpu=f"{1000 * (_cpu(process) - before) / REQUESTS:.1f} ms")


def _cpu(process: psutil.Process) -> float:
    """CPU time so far, s: beside other work it says more than the time that passes."""
    return sum(process.cpu_times()[:2])


def _row(what: str, seconds: list[float], *, cpu: str = "") -> dict[str, object]:
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return {
        "what": what,
        "n": len(seconds),
        "median": f"{1000 * statistics.median(seconds):.1f} ms",
        "p95": f"{1000 * p95:.1f} ms",
        "CPU": cpu,
    }


def _change(client: httpx.Client, database: Database, uid: str) -> dict[str, object]:
    """From the commit of a new state until an open page has the rows that show it."""
    told = threading.Semaphore(0)

    def listen() -> None:
        # the end of the benchmark cuts the stream
        with suppress(httpx.HTTPError), client.stream("GET", "/events") as answer:
            for line in answer.iter_lines():
                if line == "event: changed":
                    told.release()

    threading.Thread(target=listen, daemon=True).start()
    told.acquire(timeout=30)
    seconds = []
    for turn in range(CHANGES):
        state = (StudyState.FLAGGED, StudyState.NOT_FLAGGED)[turn % 2]
        sleep(0.37 * (1 + turn % 3))  # at any moment between two looks
        with database.write() as session:
            studies.set_state(studies.get(session, uid), state)
        started = perf_counter()
        if not told.acquire(timeout=30):
            raise RuntimeError("no event came; see the web process's log")
        client.post("/rows", data={}).raise_for_status()
        seconds.append(perf_counter() - started)
    return _row("new result on an open page", seconds)


def _rest(client: httpx.Client, process: psutil.Process) -> dict[str, object]:
    """CPU of the web process while pages are open and nothing happens."""
    with ExitStack() as pages:
        limits = httpx.Limits(max_connections=PAGES + 1)
        many = pages.enter_context(
            httpx.Client(base_url=client.base_url, cookies=client.cookies, limits=limits, timeout=60)
        )
        for _ in range(PAGES):
            answer = pages.enter_context(many.stream("GET", "/events"))
            next(answer.iter_lines())
        sleep(1)
        before = _cpu(process)
        sleep(REST_S)
        share = (_cpu(process) - before) / REST_S
    return {
        "what": f"{PAGES} open pages at rest",
        "n": PAGES,
        "median": "",
        "p95": "",
        "CPU": f"{100 * share:.1f}% of a core",
    }


def _with_pictures(database: Database, spool: Path) -> str:
    """A study of 32 slices of 512² in the spool, without an answer; returns its UID."""
    folder = spool / "studies" / "bench"
    files = write_study(generate(draw(1), matrix=512), folder)
    received = [
        read(Arrival(path=path, received_at=datetime.now(UTC), high_priority=False)) for path in files
    ]
    items = [
        Indexed(received=each, path=path.relative_to(spool).as_posix(), conflict=False)
        for path, each in zip(files, received, strict=True)
    ]
    with database.write() as session:
        index(session, items, reopening=frozenset())
        study = studies.get(session, received[0].study_instance_uid)
        revisions.open_revision(session, study, CompletedBy.GEOMETRY, datetime.now(UTC))
    return received[0].study_instance_uid


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """`ich-triage web` in its own process."""
    port = free_port()
    config = folder / "config.toml"
    config.write_text(
        f'[web]\nport = {port}\n[database]\nurl = "sqlite:///{folder}/ich.sqlite"\n'
        f'[spool]\npath = "{folder}/spool"\n[worklist]\nhours = 100000\n'
    )
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ich_triage", "--config", str(config), "web"], stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                httpx.get(f"{address}/login")
                break
            except httpx.ConnectError:
                sleep(0.2)
        yield psutil.Process(process.pid), address
    finally:
        process.terminate()
        process.wait()
