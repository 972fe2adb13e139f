"""The listener: Verification, Storage, storage commitment, and the answers to our own requests for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)
from pynetdicom.transport import AssociationSocket

from ..dicom.admission import Admission
from ..dicom.commitment import read_result
from ..dicom.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES
from ..dicom.messages import status
from ..dicom.transport import PatientSocket, Server, association_number, log_established, log_rejection
from ..dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..domain.commitment import CommitmentResult
from ..errors import SpoolError
from ..settings import Dicom, Right, Settings
from .associations import Associations
from .commitment import Commitments
from .spool import Arrival, Spool
from .stream import IncomingObject, SpoolingProvider

log = structlog.get_logger(__name__)

#: PS3.4 Table B.2-1
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
#: PS3.7 section C
PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
#: not deflated, which a small message could unfold to a large one
_UNPACKED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
#: abstract syntax → the right that it takes; Verification takes none
RIGHTS: dict[str, Right] = {
    **dict.fromkeys(map(str, STORAGE_CLASSES), "store"),
    str(StorageCommitmentPushModel): "commit",
}


class Listener:
    """One AE on one port. Handlers store and answer; they never decode and never wait for anything else."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        associations: Associations,
        *,
        commitments: Commitments,
        on_arrival: Callable[[Arrival], None],
        on_commitment: Callable[[CommitmentResult], None],
    ) -> None:
        self._settings = settings.dicom
        self._admission = Admission(
            settings.dicom, settings.peers, rights=RIGHTS, on_refused=associations.refusals.connection
        )
        self._spool = spool
        self._associations = associations
        self._commitments = commitments
        self._on_arrival = on_arrival
        self._on_commitment = on_commitment

    def start(self) -> None:
        """Bind and listen. Raises OSError when an address cannot be had, SettingsError about certificates."""
        # pynetdicom's own handlers log identifiers, and cost a fifth of the throughput
        _config.LOG_HANDLER_LEVEL = "none"
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._commitments.action),
            (evt.EVT_N_EVENT_REPORT, self._commitment_result),
            (evt.EVT_REJECTED, log_rejection),
            (evt.EVT_ESTABLISHED, log_established),
            (evt.EVT_REJECTED, self._associations.on_rejected),
            (evt.EVT_ESTABLISHED, self._associations.on_established),
        ]
        self._server = Server(
            _application_entity(self._settings),
            self._settings,
            self._admission,
            handlers=handlers,
            serve=self.serve,
        )

    @property
    def port(self) -> int:
        """The port bound, also when the system chose it; 0 where there is none without TLS."""
        return self._server.port

    @property
    def tls_port(self) -> int:
        """The port bound with TLS; 0 where there is none."""
        return self._server.tls_port

    @property
    def is_open(self) -> bool:
        """Whether somebody waits for connections."""
        return self._server.is_open

    def stop(self, *, patience_s: float) -> None:
        """Accept nothing more, let running associations finish for a while, then abort them."""
        self._server.stop(patience_s=patience_s)

    def serve(self, association: Association) -> None:
        """Run one association to its end, whatever the end is."""
        number = self._associations.begin()
        provider = SpoolingProvider(
            association,
            self._spool,
            number=number,
            max_bytes=self._settings.max_object_bytes,
            limit_s=self._settings.message_timeout_s,
        )
        association.dimse = provider
        association.name = f"{association.name}-{number}"
        association.dul.socket = PatientSocket(
            cast(AssociationSocket, association.dul.socket),
            timeout_s=self._settings.network_timeout_s,
            max_pdu_bytes=self._settings.max_pdu_bytes,
        )
        try:
            association.start()
            association.join()
        finally:
            provider.discard_unserved()
            self._associations.end(number)

    def _store(self, event: evt.Event) -> Dataset | int:
        request = cast(C_STORE, event.request)
        incoming, number = request.DataSet, association_number(event)
        if event.context.abstract_syntax != request.AffectedSOPClassUID:
            # the peer's rights are those of its contexts; what has arrived goes with the association's end
            return self._refused(number, CLASS_NOT_SUPPORTED, "not the SOP Class of the context")
        try:
            arrival = incoming.commit(association=number) if isinstance(incoming, IncomingObject) else None
        except (SpoolError, OSError) as error:
            return self._refused(number, OUT_OF_RESOURCES, _reason(error))
        if arrival is None:
            return self._refused(number, CANNOT_UNDERSTAND, "no data set")
        self._on_arrival(arrival)
        return SUCCESS

    def _refused(self, number: int, code: int, reason: str) -> Dataset:
        log.warning("object_refused", association=number, reason=reason)
        self._associations.counts.refused(code)
        return status(code, reason)

    def _commitment_result(self, event: evt.Event) -> tuple[int, None]:
        number = association_number(event)
        # broad, since this is the boundary to the peer: whatever goes wrong, it must hear that it did
        try:
            if event.context.abstract_syntax != StorageCommitmentPushModel:
                return CLASS_NOT_SUPPORTED, None
            result = read_result(event.event_information)
            self._on_commitment(result)
        except Exception as error:  # noqa: BLE001
            log.error("commitment_result_failed", association=number, error=type(error).__name__)
            return PROCESSING_FAILURE, None
        log.info(
            "commitment_result",
            association=number,
            transaction_uid=result.transaction_uid,
            committed=len(result.committed),
            failed=len(result.failed),
        )
        return SUCCESS, None


def _application_entity(settings: Dicom) -> AE:
    ae = AE(ae_title=settings.ae_title)
    ae.require_called_aet = True
    ae.maximum_pdu_size = settings.max_pdu_bytes
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.network_timeout = settings.network_timeout_s
    ae.acse_timeout = min(settings.network_timeout_s, 30.0)
    ae.add_supported_context(Verification)
    for storage_class in STORAGE_CLASSES:
        ae.add_supported_context(storage_class, list(TRANSFER_SYNTAXES))
    # either role: the peer asks us, or it opens the association to tell us what it commits to (PS3.4 J.3.3)
    ae.add_supported_context(StorageCommitmentPushModel, _UNPACKED, scu_role=True, scp_role=True)
    return ae


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, SpoolError):
        return os.strerror(error.errno) if error.errno else "input/output error"
    return str(error)
