"""Many scanners with the manners of many, for as long as wanted, and what each process holds meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from threading import Event
from time import monotonic

import httpx
import psutil
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from ich_triage.dicom.requestor import in_step
from tests.heads import tiny_head
from tests.hospital import Hospital
from tests.patient_scanner import PatientScanner

SCANNERS = 20
#: studies under way above which scanners wait: the machine decides how many there are in all
AT_ONCE = 40
#: how long the PACS is there and away, s
PACS_S = (12.0, 4.0)
#: objects that a scanner sends before it aborts, or before the late rest
_FIRST = 9
#: what a process may hold more in the last quarter than in the second: share and MB of memory; numbers
GROWTH, GROWTH_MB, MORE = 1.05, 15.0, 4


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one process held at one moment."""

    #: since the start, s
    at_s: float
    #: which process
    process: str
    #: its number, which changes when it is started again
    pid: int
    #: memory that is its own or mapped, bytes
    rss: int
    #: file handles
    handles: int
    #: threads
    threads: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the studies were at one moment."""

    #: since the start, s
    at_s: float
    #: acknowledged whole
    acknowledged: int
    #: of those, not final or not at the PACS yet
    unsettled: int
    #: whether the PACS was away
    pacs_away: bool


class Soak:
    """One run on a hospital whose service and peers are up."""

    def __init__(
        self, hospital: Hospital, *, web_port: int, pacs_s: tuple[float, float] = PACS_S, seed: int = 1
    ) -> None:
        self._hospital = hospital
        #: how long the PACS is there and away, s
        self.pacs_s = pacs_s
        self._web_port = web_port
        self._seed = seed
        self._over, self._away = Event(), Event()
        self._began = monotonic()
        #: how long scanners were sending, s
        self.sent_s = 0.0
        #: how often the PACS went away
        self.outages = 0
        self.samples: list[Sample] = []
        self.progress: list[Progress] = []
        #: manner → studies that came so
        self.manners: dict[str, int] = {}

    def run(self, *, seconds: float, every_s: float) -> None:
        """Scanners, PACS and readers for so long, or until one of them fails; samples each `every_s`."""
        self._began = monotonic()
        with ThreadPoolExecutor(SCANNERS + 2) as pool:
            work = [pool.submit(self._scanner, number) for number in range(SCANNERS)]
            work += [pool.submit(self._pacs), pool.submit(self._reader)]
            try:
                while not any(each.done() for each in work) and monotonic() - self._began < seconds:
                    self._sample()
                    self._over.wait(every_s)
            finally:  # else nobody would end
                self._over.set()
                self.sent_s = monotonic() - self._began
            for each in work:
                each.result()

    def _scanner(self, number: int) -> None:
        chance = random.Random(self._seed * SCANNERS + number)
        manners: tuple[Callable[[list[Dataset]], None], ...] = (
            self._plain,
            self._aborting,
            self._repeating,
            self._late,
        )
        while not self._over.is_set():
            if len(self.progress) and self.progress[-1].unsettled > AT_ONCE:
                self._over.wait(0.2)
                continue
            clot = chance.random() < 0.5
            head, manner = tiny_head(clot=clot), chance.choice(manners)
            manner(head)
            self._hospital.acknowledged[str(head[0].StudyInstanceUID)] = clot
            name = manner.__name__.strip("_")
            self.manners[name] = self.manners.get(name, 0) + 1

    def _send(self, head: list[Dataset]) -> None:
        PatientScanner(self._hospital.us).send(head)

    def _plain(self, head: list[Dataset]) -> None:
        self._send(head)

    def _aborting(self, head: list[Dataset]) -> None:
        """Some objects, then A-ABORT in the middle of things; then everything that was not sent."""
        ae = AE(ae_title="SCANNER")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        us = self._hospital.us
        association = ae.associate(us.host, us.port, ae_title=us.ae_title)
        with in_step(association):
            for ds in head[:_FIRST]:
                if association.is_established:
                    association.send_c_store(ds)
            association.abort()
        self._send(head[_FIRST - 2 :])
        self._send(head[: _FIRST - 2])

    def _repeating(self, head: list[Dataset]) -> None:
        self._send([*head, *head[:_FIRST]])
        self._send(head)

    def _late(self, head: list[Dataset]) -> None:
        self._send(head[:_FIRST])
        self._over.wait(3.0)  # beyond the quiet time: a revision without them
        self._send(head[_FIRST:])

    def _pacs(self) -> None:
        there_s, away_s = self.pacs_s
        while not self._over.wait(there_s):
            self._away.set()
            self.outages += 1
            with self._hospital.pacs.away():
                self._over.wait(away_s)
            self._away.clear()

    def _reader(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self._web_port}", timeout=30) as web:
            while not self._over.wait(1.0):
                assert web.get("/login").status_code == 200
                assert web.get("/readyz").status_code in (200, 503)

    def _sample(self) -> None:
        at_s = monotonic() - self._began
        for name, supervised in self._hospital.supervised.items():
            if supervised.fork is None or not supervised.fork.alive:
                continue
            process = psutil.Process(supervised.fork.pid)
            with suppress(psutil.NoSuchProcess), process.oneshot():
                sample = Sample(
                    at_s=at_s,
                    process=name,
                    pid=process.pid,
                    rss=process.memory_info().rss,
                    handles=process.num_fds(),
                    threads=process.num_threads(),
                )
                self.samples.append(sample)
        self.progress.append(
            Progress(
                at_s=at_s,
                acknowledged=len(self._hospital.acknowledged),
                unsettled=self._hospital.unsettled(),
                pacs_away=self._away.is_set(),
            )
        )

    def growth(self, process: str) -> dict[str, tuple[float, float]]:
        """Of memory (MB), file handles and threads: the median in the second and in the last quarter."""
        own = [each for each in self.samples if each.process == process]
        quarter = max(len(own) // 4, 1)
        second, last = own[quarter : 2 * quarter] or own, own[-quarter:]
        return {
            name: (median(map(value, second)), median(map(value, last)))
            for name, value in (
                ("rss_mb", lambda each: each.rss / 1e6),
                ("handles", lambda each: each.handles),
                ("threads", lambda each: each.threads),
            )
        }

    def starts(self) -> dict[str, int]:
        """How often each process was started."""
        return {name: each.starts for name, each in self._hospital.supervised.items()}

    def grown(self) -> list[str]:
        """What of which process has grown beyond the limits."""
        found = []
        for process in dict.fromkeys(each.process for each in self.samples):
            for what, (before, after) in self.growth(process).items():
                limit = GROWTH * before + GROWTH_MB if what == "rss_mb" else before + MORE
                if after > limit:
                    found.append(f"{what} of {process}: {before:.0f} in the second quarter, then {after:.0f}")
        return found
