"""`python -m tests.fuzz_by_coverage CASES`: hostile bytes for a receiver in this process, led by coverage.

atheris sees which lines of pynetdicom, pydicom and ours a case has run, and goes on from those that reached
new ones. Each case is sent to the running receiver as by `tests.integration.test_protocol_fuzz`.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import atheris

with atheris.instrument_imports(include=["pynetdicom", "pydicom", "ich_triage.intake", "ich_triage.dicom"]):
    from tests.fuzzing import ECHO, KINDS, Attacker, Footprint, Mutation
    from tests.receiving import receiving

from ich_triage.settings import Log
from ich_triage.store import migrate
from ich_triage.store.database import Database
from ich_triage.telemetry import logs

#: cases between two looks at the receiver
LOOK = 250
#: cases before memory is first measured
WARM = 500
#: what memory may grow by, MiB: the corpus of the fuzzer as well
GROWTH_MIB = 128.0
#: threads and files that come and go by themselves
SLACK = 8


class Run:
    """One run of so many cases; ends the process."""

    def __init__(self, port: int, cases: int) -> None:
        self._attacker, self._cases, self._began = Attacker(port), cases, monotonic()
        self._before: Footprint | None = None
        #: exceptions that ended a thread
        self.died: list[str] = []

    def one(self, data: bytes) -> None:
        """One case, as its bytes say."""
        told = atheris.FuzzedDataProvider(data)
        level, which = told.ConsumeIntInRange(0, 2), told.ConsumeIntInRange(0, 5)
        mutations = [_mutation(told) for _ in range(told.ConsumeIntInRange(1, 4))]
        if level == 0:
            self._attacker.session(which, mutations)
        elif level == 1:
            control = told.PickValueInList([0x03, 0x03, 0x03, 0x01, 0x02, 0x00])
            context = told.PickValueInList([0, 0, 0, ECHO, 11])
            self._attacker.command(which, mutations, control=control, context=context)
        else:
            self._attacker.data_set(which, mutations, cuts=told.ConsumeIntInRange(0, 3))
        self._look()

    def _look(self) -> None:
        cases = self._attacker.cases
        if cases % LOOK == 0 or cases >= self._cases:
            self._attacker.close()
            assert self._attacker.is_served() and not self.died, self.died
        if cases == WARM:
            self._before = Footprint.of(os.getpid())
        if cases >= self._cases:
            self._end()

    def _end(self) -> None:
        before = self._before or Footprint.of(os.getpid())
        like = Footprint(rss_mib=0, files=before.files + SLACK, threads=before.threads + SLACK)
        after = Footprint.settled(os.getpid(), like=like)
        took_s = monotonic() - self._began
        sys.stdout.write(f"{self._attacker.cases} cases in {took_s:.0f} s\nbefore {before}\nafter  {after}\n")
        sys.stdout.flush()
        grew = after.rss_mib - before.rss_mib >= GROWTH_MIB
        os._exit(int(grew or after.files > like.files or after.threads > like.threads))


def _mutation(told: atheris.FuzzedDataProvider) -> Mutation:
    where, what = told.ConsumeIntInRange(0, 1 << 16), told.ConsumeBytes(told.ConsumeIntInRange(1, 8))
    return told.PickValueInList(list(KINDS)), where, what or b"\0"


def main() -> None:
    """Fuzz; exits with 0 when all is as it should be."""
    cases = int(sys.argv[1])
    logs.configure(Log(level="error"), process="fuzz")
    logging.disable(logging.CRITICAL)  # what goes wrong in a thread is kept below
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = Database(f"sqlite:///{folder / 'ich.sqlite'}")
        migrate.upgrade(database)
        dicom = {"max_connections_per_minute": 10**9, "network_timeout_s": 5.0}
        receiver = stack.enter_context(receiving(database, folder, dicom=dicom))
        run = Run(receiver.port, cases)
        threading.excepthook = lambda told: run.died.append(repr(told.exc_value))
        atheris.Setup([sys.argv[0], "-max_len=128", "-rss_limit_mb=0", "-timeout=60"], run.one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
