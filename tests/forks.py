"""Starts the product's processes quickly, and kills them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
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

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self, number: signal.Signals = signal.SIGTERM, *, limit_s: float = 60.0) -> None:
        """Send a signal and wait until the process is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
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
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)
        sleep(1.0)
        return self.log.read_text()[-12_000:]

    def kill(self) -> None:
        """kill -9."""
        self.end(signal.SIGKILL)


class Forks:
    """Client of `fork_server`. All its processes go by `clock`, where there is one."""

    def __init__(self, clock: SettableClock | None = None) -> None:
        self.clock = clock
        environment = clock.environment if clock else {}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: list[Fork] = []
        if self._answer() != "ready":
            raise AssertionError("the fork server did not start")

    def start(self, role: str, log: Path, **options: Any) -> Fork:
        """Run `roles.<role>(**options)` in a new process."""
        assert self._server.stdin
        order = {"role": role, "log": str(log), "options": options}
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        fork = Fork(pid=int(self._answer()), log=log)
        self._started.append(fork)
        return fork

    def kill_all(self) -> None:
        """End what a test has left running."""
        for fork in self._started:
            fork.kill()
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
