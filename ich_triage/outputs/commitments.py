"""Tells peers what we have committed to, over associations that we open (PS3.4 section J.3.3).

One thread for each AE title that has an address, so that a slow peer delays no other. A result is a row until
its peer has answered: told at least once, and again after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import monotonic

import structlog

from ..dicom.return_address import return_address, told_ae_titles
from ..dicom.scu import Link, Peer, commitment_result_context
from ..errors import DeliveryError
from ..settings import Settings
from ..store import commitments
from ..store.commitment_tables import Commitment
from ..store.database import Database

log = structlog.get_logger(__name__)

#: results told over one association at most
BATCH = 16
#: how often results are looked for, s
POLL_S = 1.0
#: how long a stop waits for associations under way, s
_PATIENCE_S = 8.0


class CommitmentReporter:
    """The threads that tell peers. `start` and `stop` once."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._lease = timedelta(seconds=2 * settings.delivery.timeout_s)
        self._stopping = Event()
        self._threads = [
            Thread(target=self._run, args=(ae_title,), name=f"commitments-{ae_title}", daemon=True)
            for ae_title in told_ae_titles(settings)
        ]

    def start(self) -> None:
        """Begin to tell."""
        for thread in self._threads:
            thread.start()

    def stop_soon(self) -> None:
        """Begin no further batch."""
        self._stopping.set()

    def stop(self) -> None:
        """Finish what is under way, for a while; what is not confirmed then is told again."""
        self.stop_soon()
        deadline = monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _run(self, ae_title: str) -> None:
        while not self._stopping.is_set():
            # broad, since this is the boundary of the thread: whatever goes wrong with one batch (the
            # database is away, a peer breaks the library), later batches must still be tried
            try:
                if self._tell_due(ae_title):
                    continue
            except Exception as error:  # noqa: BLE001
                log.error("commitments_failed", ae_title=ae_title, error=type(error).__name__)
            self._stopping.wait(POLL_S)

    def _tell_due(self, ae_title: str) -> int:
        """One batch; returns how many arrived."""
        with self._database.read() as session:
            if not commitments.is_due(session, ae_title, _now()):
                return 0
        with self._database.write() as session:
            taken = commitments.to_tell(
                session, ae_title, now=_now(), until=_now() + self._lease, limit=BATCH
            )
            batch = [row for row in taken if row.address == taken[0].address]
            commitments.hold(session, [row.id for row in taken if row not in batch], until=_now())
        peer = return_address(self._settings, ae_title, batch[0].address) if batch else None
        return self._tell(peer, batch) if peer else 0

    def _tell(self, peer: Peer, batch: Sequence[Commitment]) -> int:
        """Over one association."""
        left = {row.id: row for row in batch}
        try:
            with Link(
                peer,
                calling=self._settings.dicom.ae_title,
                contexts=[commitment_result_context()],
                timeout_s=self._settings.delivery.timeout_s,
            ) as link:
                for row in batch:
                    link.report_commitment(row.transaction_uid, commitments.verdicts(row))
                    del left[row.id]
                    with self._database.write() as session:
                        commitments.drop(session, row.id)
                        commitments.hold(session, left, until=_now() + self._lease)
                    log.info("commitment_told", transaction_uid=row.transaction_uid)
        except DeliveryError as error:
            with self._database.write() as session:
                policy = self._settings.delivery
                commitments.failed(session, left, error=str(error), policy=policy, now=_now())
            log.warning("commitment_not_told", ae_title=peer.ae_title, results=len(left), error=str(error))
        return len(batch) - len(left)


def _now() -> datetime:
    return datetime.now(UTC)
