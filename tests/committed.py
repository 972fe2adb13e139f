"""Scanners that ask for storage commitment of what they have sent, until they are told, whatever dies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from time import monotonic, sleep

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ich_triage.dicom.scu import Peer
from ich_triage.domain.commitment import CommitmentResult
from tests.committing import ask, committing, references
from tests.peers import commitment_listener

#: how long a scanner that waits for the result on its own association does so, s
_STAYS_S = 1.0
_PAUSE_S = 0.1

_TABLES = """\
[[peers]]
name = "ct"
ae_title = "SCANNER"
rights = ["store", "commit"]
port = {port}
[[peers]]
name = "pacs"
ae_title = "PACS"
rights = ["commit"]
"""


class CommitmentAsker:
    """Every scanner of a hospital, with AE title SCANNER, and where it listens."""

    def __init__(self, us: Peer) -> None:
        self._us = us
        self._listener: Peer
        #: Transaction UID → what was asked for
        self._asked: dict[str, set[str]] = {}
        #: Transaction UID → what was told, each time
        self._told: dict[str, list[CommitmentResult]] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For results that come over associations of their own."""
        with commitment_listener(self._hear, ae_title="SCANNER") as self._listener:
            yield

    def configure(self, config: Path) -> None:
        """Name the peers, with the scanner's port."""
        tables = _TABLES.format(port=self._listener.port)
        config.write_text(config.read_text() + tables)

    def ask(self, datasets: Sequence[Dataset], *, limit_s: float) -> None:
        """Until the request was taken; every other scanner stays for the result, the others leave at once."""
        uid = generate_uid()
        self._asked[uid] = {str(each.SOPInstanceUID) for each in datasets}
        deadline = monotonic() + limit_s
        while not self._is_taken(uid, datasets, stays=len(self._asked) % 2 == 0):
            if monotonic() > deadline:
                raise AssertionError(f"nobody took a request for storage commitment in {limit_s} s")
            sleep(_PAUSE_S)

    def _is_taken(self, uid: str, datasets: Sequence[Dataset], *, stays: bool) -> bool:
        taken = False
        with committing(self._us.port, called=self._us.ae_title) as (association, results):
            if association.is_established:
                with suppress(RuntimeError, ValueError):  # the association has ended meanwhile
                    taken = ask(association, uid, references(datasets)) == 0x0000
            if taken and stays:
                with suppress(Empty):  # then it is told where it listens
                    self._hear(results.get(timeout=_STAYS_S)[1])
        while not results.empty():  # who is slow to leave has acknowledged the result all the same
            self._hear(results.get()[1])
        return taken

    def _hear(self, result: CommitmentResult) -> None:
        self._told.setdefault(result.transaction_uid, []).append(result)

    def unheard(self) -> int:
        """Requests that were taken and not told yet."""
        return len(self._asked.keys() - self._told.keys())

    def check(self) -> None:
        """Everything was held, so everything that was told, however often, says so."""
        assert self._told.keys() == self._asked.keys()
        for uid, results in self._told.items():
            for result in results:
                assert (result.committed, result.failed) == (self._asked[uid], {}), uid
