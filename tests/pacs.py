"""A PACS that counts: every arrival of every SOP Instance UID with its bytes, storage commitment included."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from ich_triage.dicom.requestor import in_step
from ich_triage.dicom.scu import Peer

SUCCESS = 0x0000
LOOPBACK = "127.0.0.1"


class Pacs:
    """What a counting PACS has seen; it commits to all that it has.

    `keeps`: objects themselves; else of each only a hash, so that there can be many.
    """

    def __init__(self, commits_to: Peer | None, *, keeps: bool = True, host: str = LOOPBACK) -> None:
        self._commits_to = commits_to
        self._keeps = keeps
        self._lock = Lock()
        #: SOP Instance UID → the data set of each arrival, as it came, or its hash
        self.arrivals: dict[str, list[bytes]] = defaultdict(list)
        #: SOP Instance UID → its data set
        self.objects: dict[str, Dataset] = {}
        #: the status that C-STORE is answered with
        self.answer = SUCCESS
        self.peer = Peer(host=host, port=0, ae_title="PACS")
        self._server: ThreadedAssociationServer | None = None

    @contextmanager
    def serve(self, *, strict: bool = False) -> Iterator[None]:
        """Listen until the block ends, at the same port each time."""
        ae = AE(ae_title="PACS")
        ae.supported_contexts = AllStoragePresentationContexts
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_N_ACTION, self.commit),
        ]
        ae.require_called_aet = strict

        def listen() -> None:
            address = (self.peer.host, self.peer.port)
            server = ae.start_server(address, block=False, evt_handlers=handlers)
            assert isinstance(server, ThreadedAssociationServer)
            self._server = server
            self.peer = Peer(host=self.peer.host, port=int(server.server_address[1]), ae_title="PACS")

        self._listen = listen
        listen()
        try:
            yield
        finally:
            self._close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens until the block ends."""
        self._close()
        try:
            yield
        finally:
            self._listen()

    def _close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def store(self, event: evt.Event) -> int:
        """C-STORE."""
        if self.answer != SUCCESS:
            return self.answer
        uid = str(event.request.AffectedSOPInstanceUID)
        content = event.encoded_dataset(include_meta=False)
        with self._lock:
            self.arrivals[uid].append(content if self._keeps else hashlib.sha256(content).digest())
            if self._keeps:
                self.objects[uid] = event.dataset
        return SUCCESS

    def commit(self, event: evt.Event) -> tuple[int, None]:
        """N-ACTION; the result goes out over an association of its own, once."""
        asked = event.action_information
        if self._commits_to is not None:
            Thread(target=self._report, args=(asked, self._commits_to), daemon=True).start()
        return SUCCESS, None

    def reports(self, modality: str = "SR") -> list[Dataset]:
        """The distinct objects of one modality."""
        with self._lock:
            return [ds for ds in self.objects.values() if ds.Modality == modality]

    def _report(self, asked: Dataset, to: Peer) -> None:
        with self._lock:
            there = {uid for uid in self.arrivals if self.arrivals[uid]}
        result = Dataset()
        result.TransactionUID = asked.TransactionUID
        result.ReferencedSOPSequence = [
            each for each in asked.ReferencedSOPSequence if each.ReferencedSOPInstanceUID in there
        ]
        ae = AE(ae_title="PACS")
        ae.add_requested_context(StorageCommitmentPushModel)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 5.0
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        link = ae.associate(to.host, to.port, ae_title=to.ae_title, ext_neg=[role])
        if not link.is_established:
            return
        # a receiver that died meanwhile: whoever waits for the result will ask again
        with suppress(RuntimeError, ValueError), in_step(link):
            link.send_n_event_report(
                result, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )


@contextmanager
def counting_pacs(
    *, commits_to: Peer | None = None, strict: bool = False, keeps: bool = True, host: str = LOOPBACK
) -> Iterator[Pacs]:
    """A counting PACS with AE title PACS that tells `commits_to` what it has committed to.

    `strict`: it rejects who calls it by another name. `keeps`: see `Pacs`. `host`: where it listens.
    """
    pacs = Pacs(commits_to, keeps=keeps, host=host)
    with pacs.serve(strict=strict):
        yield pacs
