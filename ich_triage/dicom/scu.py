"""Our requests to other AEs: echo, store, storage commitment, events (PS3.4 Annexes A, B, J, CC)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPush,
    Verification,
)

from ..domain.commitment import CommitmentResult, Verdict
from ..errors import DeliveryError, DeliveryRefusedError, SettingsError
from ..settings import ClientTls, DicomDestination, Subscriber
from ..tls import ClosingSocket, dicom_client_context, why
from .commitment import event_information, read_result
from .requestor import in_step
from .uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# Files go out byte for byte as they lie on disk, in chunks, without being decoded.
_config.STORE_SEND_CHUNKED_DATASET = True

DEFAULT_TIMEOUT_S = 30.0
_MAX_PDU_BYTES = 131072
#: presentation context ids are the odd numbers of one byte (PS3.8 section 9.3.2.2)
_MAX_CONTEXTS = 128
_HIGH, _MEDIUM = 1, 0
#: results of an association, permanent and transient (PS3.8 section 9.3.4)
_REJECTED = (1, 2)
_PROCESSING_FAILURE = 0x0110
#: answers after which another attempt may do: Processing Failure, Resource Limitation (PS3.7 Annex C)
_TRANSIENT = frozenset({_PROCESSING_FAILURE, 0x0213})


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another application entity."""

    #: host name or address
    host: str
    #: TCP port
    port: int
    #: its AE title
    ae_title: str
    #: how the connection is encrypted; None where it is not
    tls: ClientTls | None = None

    @classmethod
    def of(cls, configured: DicomDestination | Subscriber) -> Self:
        """The peer that a configured destination or subscriber names."""
        return cls(
            host=configured.host,
            port=configured.port,
            ae_title=configured.ae_title,
            tls=configured if configured.tls else None,
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `AE@host:port`; an IPv6 address may stand in brackets. Raises SettingsError."""
        ae_title, at, where = text.partition("@")
        host, colon, port = where.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (at and colon and host and 1 <= len(ae_title) <= 16 and port.isdigit()):
            raise SettingsError(f"{text!r} is not of the form AE@host:port")
        return cls(host=host, port=int(port), ae_title=ae_title)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The answer to one C-STORE."""

    #: DIMSE status
    status: int
    #: Error Comment of the answer
    comment: str = ""

    @property
    def ok(self) -> bool:
        """Success, or a warning: the object is stored (PS3.4 Table B.2-1, PS3.7 Annex C)."""
        return self.status == 0 or self.warning

    @property
    def warning(self) -> bool:
        """Stored, but coerced or with elements discarded."""
        return self.status & 0xF000 == 0xB000 or self.status in (0x0001, 0x0107, 0x0116)

    def __str__(self) -> str:
        return f"status 0x{self.status:04X}"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of one file."""

    #: the file
    path: Path
    #: why it was not stored, one line; None when it was
    error: str | None = None


class Link:
    """One association on which we are the SCU; released at the end of its `with` block."""

    def __init__(
        self,
        peer: Peer,
        *,
        calling: str,
        contexts: Sequence[PresentationContext],
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_commitment: Callable[[CommitmentResult], None] | None = None,
    ) -> None:
        """Open it. Raises DeliveryError when the peer cannot be reached or trusted, or rejects it."""
        self._broken_handshakes: list[OSError] = []
        ae = AE(ae_title=calling)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout_s
        self._on_commitment = on_commitment
        self._connected = False
        self._association = ae.associate(
            peer.host,
            peer.port,
            contexts=list(contexts)[:_MAX_CONTEXTS],
            ae_title=peer.ae_title,
            max_pdu=_MAX_PDU_BYTES,
            ext_neg=_roles(contexts),
            tls_args=(_context(peer.tls, self._broken_handshakes), peer.host) if peer.tls else None,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, self._connection_open),
                (evt.EVT_N_EVENT_REPORT, self._event_report),
            ],
        )
        if not self._association.is_established:
            raise DeliveryError(self._why_not(peer))
        self._in_step = in_step(self._association)

    def __enter__(self) -> Self:
        self._in_step.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_step.__exit__(kind, error, trace)

    @property
    def offers_commitment(self) -> bool:
        """Whether the peer has accepted Storage Commitment Push Model."""
        return any(
            context.abstract_syntax == StorageCommitmentPushModel
            for context in self._association.accepted_contexts
        )

    def echo(self) -> None:
        """C-ECHO. Raises DeliveryError unless it is answered with success."""
        status = self._association.send_c_echo()
        if status.get("Status") != 0:
            raise DeliveryError(f"C-ECHO: {_status_text(status)}")

    def store(self, path: Path, *, high_priority: bool = False) -> Stored:
        """C-STORE of one file as it is; re-encoded only for a peer that takes nothing but implicit VR.

        Raises DeliveryError when the file cannot be sent, or the association is gone.
        """
        priority = _HIGH if high_priority else _MEDIUM
        try:
            status = self._association.send_c_store(self._sendable(path), priority=priority)
        except (ValueError, AttributeError, RuntimeError, OSError, InvalidDicomError) as error:
            raise DeliveryError(f"not sent: {_one_line(error)}") from error
        if "Status" not in status:
            raise DeliveryError("no answer to C-STORE, association lost")
        return Stored(status=int(status.Status), comment=str(status.get("ErrorComment") or ""))

    def request_commitment(self, transaction_uid: str, references: Collection[tuple[str, str]]) -> None:
        """N-ACTION for (SOP Class UID, SOP Instance UID) pairs (PS3.4 Table J.3-1).

        Raises DeliveryError unless it is answered with success.
        """
        information = Dataset()
        information.TransactionUID = transaction_uid
        information.ReferencedSOPSequence = DicomSequence([_reference(*pair) for pair in references])
        try:
            status, _ = self._association.send_n_action(
                information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except (ValueError, RuntimeError) as error:
            raise DeliveryError(f"commitment not requested: {_one_line(error)}") from error
        if status.get("Status") != 0:
            raise DeliveryError(f"commitment request: {_status_text(status)}")

    def report(self, event_type: int, information: Dataset, *, step: str) -> None:
        """N-EVENT-REPORT about a procedure step (PS3.4 section CC.2.4).

        Raises DeliveryRefusedError when it never will be taken, DeliveryError when it may be another time.
        """
        try:
            status, _ = self._association.send_n_event_report(
                information,
                event_type,
                UnifiedProcedureStepPush,
                step,
                meta_uid=UnifiedProcedureStepEvent,
            )
        except (ValueError, RuntimeError) as error:
            raise DeliveryError(f"event not reported: {_one_line(error)}") from error
        code = int(status.get("Status", _PROCESSING_FAILURE))
        if not Stored(status=code).ok:
            kind = DeliveryError if code in _TRANSIENT else DeliveryRefusedError
            raise kind(f"event report: {_status_text(status)}")

    def report_commitment(self, transaction_uid: str, verdicts: Sequence[Verdict]) -> None:
        """N-EVENT-REPORT of a storage commitment result (PS3.4 section J.3.3). Raises DeliveryError."""
        event_type, information = event_information(transaction_uid, verdicts)
        try:
            status, _ = self._association.send_n_event_report(
                information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except (ValueError, RuntimeError) as error:
            raise DeliveryError(f"result not reported: {_one_line(error)}") from error
        if not Stored(status=int(status.get("Status", _PROCESSING_FAILURE))).ok:
            raise DeliveryError(f"commitment result: {_status_text(status)}")

    @property
    def is_open(self) -> bool:
        """Whether the association still stands."""
        return bool(self._association.is_established)

    def _sendable(self, path: Path) -> Path | Dataset:
        meta = read_file_meta_info(path)
        accepted = {
            context.transfer_syntax[0]
            for context in self._association.accepted_contexts
            if context.abstract_syntax == meta.get("MediaStorageSOPClassUID")
        }
        transfer_syntax = meta.get("TransferSyntaxUID")
        if accepted == {ImplicitVRLittleEndian} != {transfer_syntax} and not transfer_syntax.is_compressed:
            return dcmread(path)
        return path

    def _why_not(self, peer: Peer) -> str:
        if rejection := self._rejection():
            return f"association rejected: {rejection.reason_str or 'no reason given'}"
        if self._broken_handshakes:
            return f"no TLS connection: {why(self._broken_handshakes[0])}"
        if not self._connected:
            return "no connection: refused, unreachable, or nothing answered in time"
        doubt = "; or our certificate is not to its liking" if peer.tls else ""
        return f"no association: aborted, unanswered, or no presentation context accepted{doubt}"

    def _rejection(self) -> A_ASSOCIATE | None:
        """The peer's answer, where it is one.

        pynetdicom leaves it unread where it came before its own thread looked whether it is connected: it
        takes the connection, closed after the answer, for one that never stood.
        """
        association = self._association
        answer = association.acceptor.primitive or association.dul.receive_pdu(wait=False)
        return answer if isinstance(answer, A_ASSOCIATE) and answer.result in _REJECTED else None

    def _connection_open(self, _event: evt.Event) -> None:
        self._connected = True

    def _event_report(self, event: evt.Event) -> tuple[int, None]:
        """N-EVENT-REPORT on our own association, which some PACS use."""
        if self._on_commitment is None:
            return _PROCESSING_FAILURE, None
        self._on_commitment(read_result(event.event_information))
        return 0x0000, None


def _context(files: ClientTls, failures: list[OSError]) -> ssl.SSLContext:
    """What a connection is opened with; why its handshake failed goes to `failures`.

    pynetdicom only logs that. Raises DeliveryError naming the file that cannot be used.
    """

    class TellingSocket(ClosingSocket):
        def do_handshake(self, block: bool = False) -> None:
            try:
                super().do_handshake(block)
            except OSError as error:
                failures.append(error)
                raise

    context = dicom_client_context(files)
    context.sslsocket_class = TellingSocket
    return context


def echo(peer: Peer, *, calling: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """C-ECHO over an association of its own. Raises DeliveryError."""
    with Link(peer, calling=calling, contexts=[build_context(Verification)], timeout_s=timeout_s) as link:
        link.echo()


def store(
    files: Sequence[Path],
    peer: Peer,
    *,
    calling: str,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    high_priority: bool = False,
) -> Iterator[Sent]:
    """Send files over one association, each in its own transfer syntax; yields what became of each.

    Raises DeliveryError when there is no association to begin with.
    """
    contexts = storage_contexts(_kinds(files))
    with Link(peer, calling=calling, contexts=contexts, timeout_s=timeout_s) as link:
        for path in files:
            try:
                answer = link.store(path, high_priority=high_priority)
                yield Sent(path=path, error=None if answer.ok else f"refused: {answer}")
            except DeliveryError as error:
                yield Sent(path=path, error=str(error))


def storage_contexts(kinds: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """One context for each (SOP Class UID, Transfer Syntax UID); native classes also with implicit VR.

    One transfer syntax in each, since a peer accepts only one of those that stand together.
    """
    pairs = dict.fromkeys(kinds)
    pairs |= dict.fromkeys((sop_class, ImplicitVRLittleEndian) for sop_class, _ in tuple(pairs))
    return [build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in pairs]


def commitment_context() -> PresentationContext:
    """Storage Commitment Push Model, we as its SCU."""
    return build_context(StorageCommitmentPushModel)


def commitment_result_context() -> PresentationContext:
    """Storage Commitment Push Model, we as its SCP."""
    context = build_context(StorageCommitmentPushModel)
    context.scp_role = True
    return context


def event_context() -> PresentationContext:
    """UPS Event, we as its SCP."""
    context = build_context(UnifiedProcedureStepEvent)
    context.scp_role = True
    return context


def _roles(contexts: Sequence[PresentationContext]) -> list[Any]:
    """Of what we tell we are the SCP, though it is we who open the association (PS3.7 section D.3.3.4)."""
    told = [context.abstract_syntax for context in contexts if context.scp_role]
    return [build_role(each, scp_role=True) for each in told if each]


def _kinds(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for path in files:
        try:
            meta = read_file_meta_info(path)
        except (InvalidDicomError, OSError):
            continue  # `store` says so when its turn comes
        if "MediaStorageSOPClassUID" in meta and "TransferSyntaxUID" in meta:
            yield str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _status_text(status: Dataset) -> str:
    return f"status 0x{int(status.Status):04X}" if "Status" in status else "no answer"


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
