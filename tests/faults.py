"""Faults that begin and end by order, done for real to a hospital, and how long it takes to recover."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from tests.hospital import Hospital
from tests.outages import database_away, disk_full

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
def _set_back(hospital: Hospital) -> Iterator[None]:
    """The clock of every process, by an hour."""
    assert hospital.forks.clock
    hospital.forks.clock.shift(-3600)
    yield


#: those that are over as soon as they have come
MOMENTS: dict[str, Fault] = {"receiver killed": _killed("receiver"), "worker killed": _killed("worker0")}
#: those that take workers, or a clock, made for it
OF_WORKERS: dict[str, Fault] = {"GPU fails in mid-batch": _device}
OF_CLOCK: dict[str, Fault] = {"clock set back": _set_back}
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
