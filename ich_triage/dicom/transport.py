"""pynetdicom's transport, changed where a hospital network needs it; for every listener of ours."""

from __future__ import annotations

import select
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from socketserver import BaseServer
from threading import Condition, Thread
from time import monotonic
from typing import Any, cast

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from ..settings import Listener
from ..tls import ServerTls, why
from .admission import LOCAL_LIMIT, Admission, Gatekeeper, plain_address

log = structlog.get_logger(__name__)

#: an A-ASSOCIATE-RQ has no maximum length (PS3.8 section 9.3.2); the largest sensible one is far below
_LARGEST_NEGOTIATION_BYTES = 1 << 20

#: A-ASSOCIATE-RJ (source, reason), PS3.8 Table 9-21, in words for the log
_REJECTIONS: dict[tuple[int | None, int | None], str] = {
    (1, 3): "calling_ae_title_not_recognized",
    (1, 7): "called_ae_title_not_recognized",
}
#: states of PS3.8 Table 9-10: once an association stands, and after an abort
_ESTABLISHED, _AWAITING_CLOSE = "Sta6", "Sta13"
#: how long after an abort the peer has for hanging up, s
_DRAIN_S = 2.0
#: how long associations that were aborted may take to end, s
_ABORT_S = 2.0
#: longest that a TLS handshake may take, s
_HANDSHAKE_S = 10.0


class PatientSocket(AssociationSocket):
    """A PDU must arrive within the network time-out and be no longer than agreed.

    pynetdicom waits forever for the rest of a PDU, and takes any length that a peer claims. After an abort it
    goes on reading, and logs and answers every few bytes of what follows.
    """

    #: whether what comes is thrown away: the association is over, and the peer should read the abort
    deaf = False

    def __init__(self, accepted: AssociationSocket, *, timeout_s: float, max_pdu_bytes: int) -> None:
        vars(self).update(vars(accepted))
        self._timeout_s = timeout_s
        self._max_pdu_bytes = max_pdu_bytes
        self._longest = _LARGEST_NEGOTIATION_BYTES

    def negotiated(self) -> None:
        """From now on no PDU is longer than agreed."""
        self._longest = self._max_pdu_bytes

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly `nr_bytes`, fewer only at the end of the stream. Raises OSError, TimeoutError."""
        if self.deaf:
            self._drain()
            return bytearray()
        if nr_bytes > self._longest:
            raise OSError(f"a PDU of {nr_bytes} bytes is longer than agreed")
        peer = cast(socket.socket, self.socket)
        deadline = monotonic() + self._timeout_s
        data = bytearray(nr_bytes)
        view, read = memoryview(data), 0
        while read < nr_bytes:
            peer.settimeout(max(deadline - monotonic(), 0.001))
            count = peer.recv_into(view[read:])
            if count == 0:
                break
            read += count
        peer.settimeout(self._timeout_s)
        view.release()
        del data[read:]
        return data

    def _drain(self) -> None:
        """To the end of the stream, for a while: closed with bytes unread, the abort would be lost."""
        peer, deadline = cast(socket.socket, self.socket), monotonic() + _DRAIN_S
        with suppress(OSError):
            while (left_s := deadline - monotonic()) > 0:
                peer.settimeout(left_s)
                if not peer.recv(1 << 16):
                    return


class Server:
    """An AE that listens without encryption, with TLS, or both; each association has a thread of its own."""

    def __init__(
        self,
        ae: AE,
        settings: Listener,
        admission: Admission,
        *,
        handlers: list[evt.EventHandlerType],
        serve: Callable[[Association], None],
    ) -> None:
        """Bind and listen; `serve` runs one association to its end. Raises OSError, SettingsError."""
        # counted by the admission, which leaves out connections that have not asked for an association yet
        ae.maximum_associations = sys.maxsize
        self._ae, self._settings, self._admission, self._serve = ae, settings, admission, serve
        self._handlers = [*handlers, (evt.EVT_CONN_CLOSE, _wake_if_not_negotiated)]
        tls = ServerTls(settings) if settings.tls_certificate else None
        self._plain = self._listen(settings.port, None) if settings.plain else None
        try:
            self._tls = self._listen(settings.tls_port, tls) if tls else None
        except OSError:
            if self._plain:
                self._plain.server_close()
            raise
        self._threads = [
            Thread(target=each.serve_forever, args=(0.1,), name="listener", daemon=True)
            for each in self._listening
        ]
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The port bound that is not encrypted; 0 where there is none."""
        return int(self._plain.server_address[1]) if self._plain else 0

    @property
    def tls_port(self) -> int:
        """The port bound with TLS; 0 where there is none."""
        return int(self._tls.server_address[1]) if self._tls else 0

    @property
    def is_open(self) -> bool:
        """Whether connections are waited for on every port."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self, *, patience_s: float) -> None:
        """Accept nothing more, let running associations finish for a while, then abort them."""
        for listening in self._listening:
            BaseServer.shutdown(listening)
            listening.take_waiting()
            listening.server_close()
        for thread in self._threads:
            thread.join()
        self._join(patience_s)
        for association in self._ae.active_associations:
            association.abort(block=False)
        self._join(min(patience_s, _ABORT_S))

    @property
    def _listening(self) -> list[_Server]:
        return [each for each in (self._plain, self._tls) if each]

    def _listen(self, port: int, tls: ServerTls | None) -> _Server:
        def handler(*arguments: Any) -> _Connection:
            return _Connection(self._serve, tls, self._admission, *arguments)

        address = (self._settings.host, port)
        made = self._ae.make_server(
            address,
            evt_handlers=self._handlers,
            server_class=_SharingServer if self._settings.share_ports else _Server,
            request_handler=handler,
        )
        server = cast(_Server, made)
        server.admission = self._admission
        return server

    def _join(self, patience_s: float) -> None:
        """Wait for all connections together, also those that have not become an association yet."""
        deadline = monotonic() + patience_s
        for listening in self._listening:
            listening.join(max(0.0, deadline - monotonic()))


def rejection(association: Association) -> str:
    """Why we have rejected an association, as one word for the log."""
    if isinstance(association.acse, Gatekeeper) and association.acse.refused:
        return association.acse.refused
    sent = association.acceptor.primitive
    source, reason = (sent.result_source, sent.diagnostic) if sent else (None, None)
    return _REJECTIONS.get((source, reason), f"source {source} reason {reason}")


class _Server(ThreadedAssociationServer):
    daemon_threads = True
    #: connections that may wait to be taken, which takes no time but under load
    request_queue_size = 128
    admission: Admission

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._serving, self._ended = 0, Condition()
        super().__init__(*arguments, **named)

    def take_waiting(self) -> None:
        """Take the connections that the system has accepted already: closing would reset them."""
        self.timeout = 0
        while select.select([self], [], [], 0)[0]:
            self.handle_request()

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        try:
            return self.admission.connected(plain_address(client_address[0]))
        except RuntimeError:  # no thread to be had, of which counting takes one; the listener outlives that
            return False

    def join(self, patience_s: float) -> None:
        """Wait until no connection is served."""
        with self._ended:
            self._ended.wait_for(lambda: not self._serving, timeout=patience_s)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._count(1)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._count(-1)
            self.admission.disconnected(plain_address(client_address[0]))
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._count(-1)
            self.admission.disconnected(plain_address(client_address[0]))

    def _count(self, change: int) -> None:
        with self._ended:
            self._serving += change
            self._ended.notify_all()


class _SharingServer(_Server):
    """Beside others on the same port (SO_REUSEPORT): the system shares new connections out among them."""

    def server_bind(self) -> None:
        cast(socket.socket, self.socket).setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


class _Connection(RequestHandler):
    """One accepted connection, in a thread of its own from the first byte."""

    def __init__(
        self,
        serve: Callable[[Association], None],
        tls: ServerTls | None,
        admission: Admission,
        *arguments: Any,
    ) -> None:
        self._serve, self._tls, self._admission = serve, tls, admission
        super().__init__(*arguments)

    def handle(self) -> None:
        if self._tls and not self._encrypt(self._tls):
            return
        association = self._create_association()
        gatekeeper = Gatekeeper(association, self._admission)
        association.acse = gatekeeper
        association.dul.state_machine = _LenientMachine(association.dul)
        try:
            self._serve(association)
        finally:
            gatekeeper.leave()

    def _encrypt(self, tls: ServerTls) -> bool:
        limit_s = min(self.ae.network_timeout or _HANDSHAKE_S, _HANDSHAKE_S)
        try:
            self.request = tls.wrap(self.request, timeout_s=limit_s)
        except OSError as error:
            address = plain_address(self.client_address[0])
            log.warning("tls_refused", audit=True, address=address, reason=why(error))
            self._admission.on_refused(address, why(error))
            self.request.close()
            return False
        return True


class _LenientMachine(StateMachine):
    """Outlives what a peer sends.

    pynetdicom's own machine raises for a response that is ready when its association has just ended, and for
    PDUs that can be decoded and make no sense; its thread dies of it with the connection open.
    """

    def do_action(self, event: str) -> None:
        if event == "Evt9" and (event, self.current_state) not in TRANSITION_TABLE:
            with suppress(Empty):  # one response can have several events
                self.dul.to_provider_queue.get(block=False)
            return
        # broad, since these are a peer's bytes, on which the library raises whatever it likes
        try:
            super().do_action(event)
        except Exception as error:  # noqa: BLE001
            log.warning("association_broken", error=type(error).__name__)
            self._hang_up()

    def transition(self, state: str) -> None:
        super().transition(state)
        if not isinstance(self.dul.socket, PatientSocket):
            return
        if state == _ESTABLISHED:
            self.dul.socket.negotiated()
        elif state == _AWAITING_CLOSE:
            self.dul.socket.deaf = True

    def _hang_up(self) -> None:
        """A-ABORT past the machine, and the end of both threads."""
        pdu = A_ABORT_RQ()
        pdu.source, pdu.reason_diagnostic = 0x02, 0x00  # PS3.8 Table 9-26
        transport, association = cast(AssociationSocket, self.dul.socket), self.dul.assoc
        with suppress(OSError):
            transport.send(pdu.encode())
        transport.close()
        association.is_aborted, association.is_established = True, False
        association._kill = True
        self.dul.kill_dul()
        self.dul.to_user_queue.put(A_P_ABORT())  # whoever waits for the peer's next word


def _wake_if_not_negotiated(event: evt.Event) -> None:
    """End an association whose peer left before it asked for anything.

    pynetdicom would keep it for the ACSE time-out: a port monitor would fill up all places.
    """
    association = event.assoc
    if association.requestor.primitive is None:
        association.is_aborted = True
        association.dul.to_user_queue.put(A_P_ABORT())


def association_number(event: evt.Event) -> int:
    """Our own number of the association that an event is about: its DIMSE provider counts them."""
    return int(cast(Any, event.assoc.dimse).number)


def on_rejection(tell: Callable[[str, str, str], None]) -> Callable[[evt.Event], None]:
    """Handler of EVT_REJECTED that calls `tell` with address, reason and calling AE title.

    Not of a place that was not to be had, which says nothing about who wanted it.
    """

    def handler(event: evt.Event) -> None:
        requestor, reason = event.assoc.requestor, rejection(event.assoc)
        if reason != LOCAL_LIMIT:
            tell(plain_address(requestor.address), reason, requestor.ae_title)

    return handler


def log_rejection(event: evt.Event) -> None:
    """Handler of EVT_REJECTED."""
    log.warning(
        "association_rejected",
        association=association_number(event),
        audit=True,
        reason=rejection(event.assoc),
        calling_ae_title=event.assoc.requestor.ae_title,
        address=event.assoc.requestor.address,
    )


def log_established(event: evt.Event) -> None:
    """Handler of EVT_ESTABLISHED."""
    requestor = event.assoc.requestor
    log.info(
        "association_established",
        association=association_number(event),
        calling_ae_title=requestor.ae_title,
        address=requestor.address,
        tls=isinstance(cast(AssociationSocket, event.assoc.dul.socket).socket, ssl.SSLSocket),
    )
