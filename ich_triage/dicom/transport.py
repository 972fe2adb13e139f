"""pynetdicom's transport, changed where a hospital network needs it; for every listener of ours."""

from __future__ import annotations

import socket
from collections.abc import Callable
from socketserver import BaseServer
from threading import Thread
from time import monotonic
from typing import Any, cast

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

log = structlog.get_logger(__name__)

#: an A-ASSOCIATE-RQ has no maximum length (PS3.8 section 9.3.2); the largest sensible one is far below
_LARGEST_NEGOTIATION_BYTES = 1 << 20

#: A-ASSOCIATE-RJ (source, reason), PS3.8 Table 9-21, in words for the log
_REJECTIONS: dict[tuple[int | None, int | None], str] = {
    (1, 3): "calling_ae_title_not_recognized",
    (1, 7): "called_ae_title_not_recognized",
    (3, 2): "local_limit_exceeded",
}


class PatientSocket(AssociationSocket):
    """A PDU must arrive within the network time-out and be no longer than agreed.

    pynetdicom waits forever for the rest of a PDU, and takes any length that a peer claims.
    """

    def __init__(self, accepted: AssociationSocket, *, timeout_s: float, max_pdu_bytes: int) -> None:
        vars(self).update(vars(accepted))
        self._timeout_s = timeout_s
        self._longest = max(max_pdu_bytes, _LARGEST_NEGOTIATION_BYTES)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly `nr_bytes`, fewer only at the end of the stream. Raises OSError, TimeoutError."""
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


class Server:
    """An AE that listens on one address, each association in a thread of its own that outlives it."""

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        *,
        handlers: list[evt.EventHandlerType],
        serve: Callable[[Association], None],
    ) -> None:
        """Bind and listen; `serve` runs one association to its end. Raises OSError."""
        self._ae = ae
        self._server = cast(
            ThreadedAssociationServer,
            ae.make_server(
                address,
                evt_handlers=[*handlers, (evt.EVT_CONN_CLOSE, _wake_if_not_negotiated)],
                server_class=_Server,
                request_handler=lambda *arguments: _Connection(serve, *arguments),
            ),
        )
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port bound, also when the system chose it."""
        return int(self._server.server_address[1])

    def stop(self, *, patience_s: float) -> None:
        """Accept nothing more, let running associations finish for a while, then abort them."""
        BaseServer.shutdown(self._server)
        self._server.server_close()
        self._thread.join()
        self._join(patience_s)
        for association in self._ae.active_associations:
            association.abort(block=False)
        self._join(patience_s)

    def _join(self, patience_s: float) -> None:
        """Wait for all associations together."""
        deadline = monotonic() + patience_s
        for association in self._ae.active_associations:
            association.join(timeout=max(0.0, deadline - monotonic()))


def rejection(association: Association) -> str:
    """Why we have rejected an association, as one word for the log."""
    sent = association.acceptor.primitive
    source, reason = (sent.result_source, sent.diagnostic) if sent else (None, None)
    return _REJECTIONS.get((source, reason), f"source {source} reason {reason}")


class _Server(ThreadedAssociationServer):
    daemon_threads = True


class _Connection(RequestHandler):
    """One accepted connection."""

    def __init__(self, serve: Callable[[Association], None], *arguments: Any) -> None:
        self._serve = serve
        super().__init__(*arguments)

    def handle(self) -> None:
        self._serve(self._create_association())


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


def log_rejection(event: evt.Event) -> None:
    """Handler of EVT_REJECTED."""
    log.warning(
        "association_rejected",
        association=association_number(event),
        reason=rejection(event.assoc),
        calling_ae_title=event.assoc.requestor.ae_title,
    )


def log_established(event: evt.Event) -> None:
    """Handler of EVT_ESTABLISHED."""
    requestor = event.assoc.requestor
    log.info(
        "association_established",
        association=association_number(event),
        calling_ae_title=requestor.ae_title,
        address=requestor.address,
    )
