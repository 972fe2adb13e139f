"""Starts the product's processes quickly, and kills them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

import pytest

from tests.settable_clock import SettableClock, settable_clock

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Fork:
    """One process of the product."""

    #: process id
    pid: int
    #: what it prints
    log: Path

    #: stands for it, and for no other that is given its id later; None where it ended at once
    fd: int | None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        if self.fd is None:
            return False
        ended = select.poll()
        ended.register(self.fd, select.POLLIN)
        return not ended.poll(0)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended is left in peace."""
        if self.fd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, number)

    def end(self, number: signal.Signals = signal.SIGTERM, *, limit_s: float = 60.0) -> None:
        """Send a signal and wait until the process is gone."""
        self.send(number)
        self.until_gone(limit_s=limit_s)

    def until_gone(self, *, limit_s: float = 60.0) -> None:
        """Wait until the process has ended."""
        deadline = monotonic() + limit_s
        while self.alive:
            if monotonic() > deadline:
                raise AssertionError(f"process {self.pid} is alive after {limit_s} s\n{self._stacks()}")
            sleep(0.02)

    def _stacks(self) -> str:
        """What its threads are at, as `fork_server` has them written on this signal."""
        self.send(signal.SIGUSR1)
        sleep(1.0)
        return self.log.read_text()[-12_000:]

    def kill(self) -> None:
        """kill -9."""
        self.end(signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Typed(Fork):
    """`ich-triage` with arguments, as a user types it; `log` is its standard error."""

    #: its standard output
    out: Path
    #: what it ended with, once it has
    status: Path

    def ended(self, *, limit_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Wait for its end; -9 where it could not say anything any more."""
        self.until_gone(limit_s=limit_s)
        told = int(self.status.read_text()) if self.status.exists() else -signal.SIGKILL
        return subprocess.CompletedProcess((), told, self.out.read_text(), self.log.read_text())


class Forks:
    """Client of `fork_server`. All its processes go by `clock`, where there is one."""

    def __init__(self, clock: SettableClock | None = None) -> None:
        self.clock = clock
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | (clock.environment if clock else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: list[Fork] = []
        self._alone = Lock()
        if self._answer() != "ready":
            raise AssertionError("the fork server did not start")

    def start(self, role: str, log: Path, **options: Any) -> Fork:
        """Run `roles.<role>(**options)` in a new process. Any thread may ask."""
        order = {"role": role, "log": str(log), "options": options}
        with self._alone:  # else one thread may read the other one's answer, and wait for its own for ever
            assert self._server.stdin
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
            pid = int(self._answer())
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            fd = None
        fork = Fork(pid=pid, log=log, fd=fd)
        self._started.append(fork)
        return fork

    def type(self, folder: Path, *arguments: object) -> Typed:
        """Type `ich-triage <arguments>`; what it prints goes to files in `folder`."""
        name = f"typed_{len(self._started)}"
        out, errors, status = (folder / f"{name}.{what}" for what in ("out", "errors", "status"))
        errors.touch()
        options = {"arguments": [str(each) for each in arguments], "out": str(out), "status": str(status)}
        fork = self.start("command", errors, **options)
        return Typed(pid=fork.pid, log=errors, fd=fork.fd, out=out, status=status)

    def run(self, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Type it and wait for its end."""
        return self.type(folder, *arguments).ended()

    def kill_all(self) -> None:
        """End what a test has left running."""
        for fork in self._started:
            fork.kill()
            if fork.fd is not None:
                os.close(fork.fd)
        self._started.clear()

    def close(self) -> None:
        """End everything."""
        self.kill_all()
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def _answer(self) -> str:
        assert self._server.stdout
        return self._server.stdout.readline().strip()


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """One server for the whole run."""
    server = Forks(settable_clock(tmp_path_factory.mktemp("clock")))
    yield server
    server.close()


@pytest.fixture
def forks(fork_server: Forks) -> Iterator[Forks]:
    """Starts processes that end with the test at the latest."""
    yield fork_server
    fork_server.kill_all()
    if fork_server.clock:
        fork_server.clock.set(0)
