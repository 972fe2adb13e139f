"""Takes the database or the disk away for a moment, for real, when a process asks for it at a boundary."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Client, Listener
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

from sqlalchemy import create_engine, text

from ich_triage.pipeline.queue import system_database_url
from ich_triage.store.database import Database

#: how long each lasts, s; longer than processes under fire wait for a lock
LASTS_S = 0.2
#: how long they wait for one, ms
BUSY_TIMEOUT_MS = 80
#: how long an outage may take to begin before who asked goes on: who asks may hold the lock itself, s
_BEGIN_S = 0.05
_FILLER = "filler"


def ask_for(address: Path, fault: str) -> None:
    """Have `database` or `disk` taken away; returns once it is."""
    with Client(str(address)) as server:
        server.send(fault)
        server.recv()


class Outages:
    """One at a time, each ended by itself; `address` is a socket of its own."""

    def __init__(self, address: Path, database: Database, disk: Path) -> None:
        self.address = address
        self._away: dict[str, Callable[[ExitStack], bool]] = {
            "database": lambda stack: database_away(stack, database),
            "disk": lambda stack: disk_full(stack, disk),
        }
        #: fault → when each ended, by the monotonic clock, s
        self.ended: dict[str, list[float]] = {"database": [], "disk": []}

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Take requests until the block ends."""
        with Listener(str(self.address)) as listener:
            thread = Thread(target=self._run, args=(listener,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                ask_for(self.address, "")
                thread.join()

    def _run(self, listener: Listener) -> None:
        while True:
            with listener.accept() as asking:
                try:
                    fault = asking.recv()
                except (EOFError, OSError):  # it was killed at another boundary meanwhile
                    continue
                with ExitStack() as stack:
                    begun = not fault or self._away[fault](stack)
                    with suppress(OSError):  # likewise
                        asking.send(None)
                    if not fault:
                        return
                    deadline = monotonic() + 5.0
                    while not begun and monotonic() < deadline:
                        begun = self._away[fault](stack)
                    sleep(LASTS_S)
            self.ended[fault].append(monotonic())


def database_away(stack: ExitStack, database: Database) -> bool:
    """Until the stack closes nothing can be written; whether that could be had at once."""
    return _locked(stack, database) if database.is_sqlite else _refusing(stack, database)


def _locked(stack: ExitStack, database: Database) -> bool:
    """Another program holds the write locks of our file and of the queue's."""
    queue = system_database_url(str(database.url)).removeprefix("sqlite:///")
    with ExitStack() as own:
        for file in (str(database.url.database), queue):
            connection = sqlite3.connect(
                file, timeout=_BEGIN_S, isolation_level=None, check_same_thread=False
            )
            own.callback(connection.close)
            with suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                continue
            return False
        stack.push(own.pop_all())
    return True


def _refusing(stack: ExitStack, database: Database) -> bool:
    """The server cuts every connection to our database and takes no new one."""
    engine = create_engine(database.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = database.url.database
    stack.callback(engine.dispose)
    connection = stack.enter_context(engine.connect())
    connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"))
    stack.callback(lambda: connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")))
    every = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    connection.execute(every, {"name": name})
    return True


def disk_full(stack: ExitStack, disk: Path) -> bool:
    """Every free block of the file system is taken."""
    filler = disk / _FILLER
    stack.callback(filler.unlink)
    with filler.open("wb") as file:
        free = os.statvfs(disk)
        with suppress(OSError):  # others write meanwhile; then it is full without us
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail, 1) * free.f_frsize)
        with suppress(OSError):
            while os.write(file.fileno(), bytes(4096)):
                pass
    return True


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Path]:
    """A file system of its own at `folder`/disk; a plain folder where mounting is not permitted."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    try:
        yield disk
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
