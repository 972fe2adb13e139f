"""Faults that begin and end by order, done for real to a hospital, and how long it takes to recover."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

import psutil

from tests import boundaries
from tests.hospital import Hospital
from tests.outages import database_away, disk_full

#: what an analysis asks for where memory is to run short, MB of address space
EATS_MB = 4000
_TOO_LITTLE = '"error": "MemoryError"'

#: a hospital in, the fault lasts as long as the block
Fault = Callable[[Hospital], AbstractContextManager[None]]


def _killed(name: str) -> Fault:
    @contextmanager
    def fault(hospital: Hospital) -> Iterator[None]:
        """kill -9; whoever supervises starts it again."""
        process = hospital.supervised[name].fork
        assert process is not None
        process.kill()
        yield  # it is there again when whoever supervises sees it

    return fault


@contextmanager
def _database(hospital: Hospital) -> Iterator[None]:
    with ExitStack() as stack:
        while not database_away(stack, hospital.database):
            pass
        yield


@contextmanager
def _disk(hospital: Hospital) -> Iterator[None]:
    with ExitStack() as stack:
        disk_full(stack, hospital.disk)
        yield


@contextmanager
def _read_only(hospital: Hospital) -> Iterator[None]:
    """As the kernel does it after an error of the disk: what is open stays open."""
    spool = str(hospital.disk / "spool")
    subprocess.run(["mount", "--bind", spool, spool], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", spool], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", spool], check=True)


def _pacs(hospital: Hospital) -> AbstractContextManager[None]:
    return hospital.pacs.away()


@contextmanager
def _device(hospital: Hospital) -> Iterator[None]:
    """Its error in mid-batch, where workers were started with `loses_device`."""
    lost(hospital).touch()
    yield


def lost(hospital: Hospital) -> Path:
    """The file that `loses_device` names."""
    return hospital.folder / "lost"


@contextmanager
def _short_of_memory(hospital: Hospital) -> Iterator[None]:
    """Until an analysis has found too little, where workers were started with `eats_mb`."""
    fork = hospital.supervised["worker0"].fork
    assert fork is not None
    found = fork.log.read_text().count(_TOO_LITTLE)
    has, most = resource.prlimit(fork.pid, resource.RLIMIT_AS)
    own = psutil.Process(fork.pid).memory_info().vms
    resource.prlimit(fork.pid, resource.RLIMIT_AS, (own + EATS_MB * 250_000, most))
    yield
    while fork.log.read_text().count(_TOO_LITTLE) == found:
        sleep(0.05)
    resource.prlimit(fork.pid, resource.RLIMIT_AS, (has, most))


def _killed_at(role: str, boundary: str) -> Fault:
    @contextmanager
    def fault(hospital: Hospital) -> Iterator[None]:
        """kill -9 the next time that it comes by, where it was started with a plan."""
        boundaries.write_plan(hospital.plan(role), [boundary], [boundaries.KILL])
        yield

    return fault


def corrupted(weights: Path) -> Fault:
    """The file of the package in force is cut, and the worker that has it loaded is killed."""

    @contextmanager
    def fault(hospital: Hospital) -> Iterator[None]:
        weights.write_bytes(weights.read_bytes()[:1000])
        with _killed("worker0")(hospital):
            yield

    return fault


def _set(seconds: int) -> Fault:
    @contextmanager
    def fault(hospital: Hospital) -> Iterator[None]:
        """The clock of every process, by so much."""
        assert hospital.forks.clock
        hospital.forks.clock.shift(seconds)
        yield

    return fault


#: those that are over as soon as they have come
MOMENTS: dict[str, Fault] = {"receiver killed": _killed("receiver"), "worker killed": _killed("worker0")}
#: those that take workers, or a clock, made for it
OF_WORKERS: dict[str, Fault] = {"GPU fails in mid-batch": _device}
OF_CLOCK: dict[str, Fault] = {"clock set back": _set(-3600), "clock set forward": _set(3600)}
OF_MEMORY: dict[str, Fault] = {"worker out of memory": _short_of_memory}
OF_PLANS: dict[str, Fault] = {
    "receiver killed in mid-file": _killed_at("receiver", "inside object"),
    "worker killed in mid-report": _killed_at("worker", "before replace of object"),
}
#: those that any machine can have
LASTING: dict[str, Fault] = {"database away": _database, "PACS away": _pacs}
PLAIN = MOMENTS | LASTING
#: those that take a file system of its own
OF_DISK: dict[str, Fault] = {"disk full": _disk, "spool read-only": _read_only}


def suffer(hospital: Hospital, fault: Fault, *, lasts_s: float, limit_s: float = 120.0) -> float:
    """A study is scanned and analysed when the fault begins, another while it lasts.

    Returns the seconds from the fault's end to the last report's arrival at the PACS for good.
    """
    with ThreadPoolExecutor(1) as scanner:
        hospital.scan(clot=True)
        with fault(hospital):
            under_fault = scanner.submit(hospital.scan, clot=False)
            sleep(lasts_s)
        ended = monotonic()
        under_fault.result(limit_s)
    while hospital.unsettled():
        if monotonic() - ended > limit_s:
            raise AssertionError(f"not recovered after {limit_s} s; see {hospital.folder}")
        sleep(0.05)
    return monotonic() - ended
