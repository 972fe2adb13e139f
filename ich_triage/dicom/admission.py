"""Who may come in, how many at once, and with which rights: `[[peers]]` and the limits of one listener.

Two doors. A connection is counted when it is accepted, so that nobody can hold more of them than is sensible
while saying nothing. An association is judged when it is asked for, by calling AE title, address and
certificate, and answered as PS3.8 Table 9-21 has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from threading import Lock

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from ..settings import AllowedPeer, Listener, Right
from ..tls import certificate_names

log = structlog.get_logger(__name__)

#: connections beyond the associations that may be open, of one address and in all: those that say nothing
_SILENT_OF_ADDRESS, _SILENT = 20, 100
_TOLD = RateLimitItemPerMinute(1, 1, namespace="told")


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why an association is rejected."""

    #: result, source and reason of A-ASSOCIATE-RJ
    code: tuple[int, int, int]
    #: one word for the log
    reason: str


_UNKNOWN = Refusal(code=(1, 1, 3), reason="calling_ae_title_not_recognized")
_WRONG_ADDRESS = Refusal(code=(1, 1, 3), reason="address_not_of_this_peer")
_WRONG_CERTIFICATE = Refusal(code=(1, 1, 3), reason="certificate_not_of_this_peer")
#: why an association is rejected that would be taken another time
LOCAL_LIMIT = "local_limit_exceeded"
_TOO_MANY = Refusal(code=(2, 3, 2), reason=LOCAL_LIMIT)
_TOO_MANY_OF_ADDRESS = Refusal(code=(2, 3, 2), reason="limit_of_address_exceeded")
#: every reason for which an association is refused here
REASONS = tuple(
    each.reason for each in (_UNKNOWN, _WRONG_ADDRESS, _WRONG_CERTIFICATE, _TOO_MANY, _TOO_MANY_OF_ADDRESS)
)


class Admission:
    """Both doors of one listener. Any thread."""

    def __init__(
        self,
        listener: Listener,
        peers: Sequence[AllowedPeer],
        *,
        rights: Mapping[str, Right],
        on_refused: Callable[[str, str], None] = lambda _address, _reason: None,
    ) -> None:
        """`rights`: abstract syntax → the right that it takes; one that is not there takes none.

        `on_refused` hears of each connection that is closed at once: its address, and why.
        """
        #: hears of connections that are closed at once
        self.on_refused = on_refused
        self._peers = peers
        self._rights = rights
        self._most, self._most_of_address = listener.max_associations, listener.max_associations_per_address
        self._rate = RateLimitItemPerMinute(listener.max_connections_per_minute, 1, namespace="connections")
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._lock = Lock()
        self._connections: Counter[str] = Counter()
        self._associations: Counter[str] = Counter()

    def connected(self, address: str) -> bool:
        """Whether one more connection of that address is served; then `disconnected` must follow."""
        with self._lock:
            room = (
                self._connections[address] < self._most_of_address + _SILENT_OF_ADDRESS
                and self._connections.total() < self._most + _SILENT
            )
            if room and self._limiter.hit(self._rate, address):
                self._connections[address] += 1
                return True
            if self._limiter.hit(_TOLD, address):  # a flood must not flood the log
                held = self._connections[address]
                log.warning("connections_refused", audit=True, address=address, open=held)
        self.on_refused(address, "too many connections")
        return False

    def disconnected(self, address: str) -> None:
        """One of its connections is over."""
        with self._lock:
            self._connections -= Counter({address: 1})

    def asked(self, ae_title: str, address: str, names: frozenset[str]) -> Refusal | AllowedPeer | None:
        """Judge a peer that calls itself so, with a certificate that bears `names`.

        None where there is no list of peers. Unless it is a refusal, `left` must follow.
        """
        found = self._find(ae_title, address, names) if self._peers else None
        if isinstance(found, Refusal):
            return found
        with self._lock:
            if self._associations.total() >= self._most:
                return _TOO_MANY
            if self._associations[address] >= self._most_of_address:
                return _TOO_MANY_OF_ADDRESS
            self._associations[address] += 1
        return found

    def left(self, address: str) -> None:
        """One of its associations is over."""
        with self._lock:
            self._associations -= Counter({address: 1})

    def allows(self, peer: AllowedPeer | None, abstract_syntax: str) -> bool:
        """Whether it may use that service."""
        right = self._rights.get(abstract_syntax)
        return peer is None or right is None or right in peer.rights

    def _find(self, ae_title: str, address: str, names: frozenset[str]) -> AllowedPeer | Refusal:
        called_so = [peer for peer in self._peers if peer.ae_title == ae_title.strip()]
        from_there = [peer for peer in called_so if _is_from(peer, address)]
        for peer in from_there:
            if not peer.certificate_name or peer.certificate_name in names:
                return peer
        return _WRONG_CERTIFICATE if from_there else _WRONG_ADDRESS if called_so else _UNKNOWN


class Gatekeeper(ACSE):
    """pynetdicom's negotiation of one association, with ours before it."""

    def __init__(self, association: Association, admission: Admission) -> None:
        super().__init__(association)
        self._admission = admission
        self._address, self._inside = "", False
        #: why we have rejected the association, one word; empty where we have not
        self.refused = ""

    def _negotiate_as_acceptor(self) -> None:
        """Judge a request for an association; one that makes no sense is hung up on."""
        # broad, since these are a peer's bytes, on which the library raises whatever it likes: its thread
        # would die of it with the connection open
        try:
            self._judge()
        except Exception as error:  # noqa: BLE001
            log.warning("association_broken", error=type(error).__name__)
            self.send_abort(0x02)
            self.assoc.kill()

    def _judge(self) -> None:
        """Reject who may not come in; offer the others what they may use."""
        requestor, acceptor = self.requestor, self.acceptor
        requestor.ae_title = requestor.primitive.calling_ae_title  # type: ignore[union-attr]  # it has asked
        transport = self.assoc.dul.socket
        names = certificate_names(transport.socket if isinstance(transport, AssociationSocket) else None)
        self._address = plain_address(requestor.address)
        found = self._admission.asked(requestor.ae_title, self._address, names)
        if isinstance(found, Refusal):
            self.refused = found.reason
            self.send_reject(*found.code)
            evt.trigger(self.assoc, evt.EVT_REJECTED, {})
            self.assoc.kill()
            return
        self._inside = True
        acceptor.supported_contexts = [
            context
            for context in acceptor.supported_contexts
            if self._admission.allows(found, str(context.abstract_syntax))
        ]
        super()._negotiate_as_acceptor()

    def leave(self) -> None:
        """The association is over."""
        if self._inside:
            self._admission.left(self._address)


def plain_address(address: str) -> str:
    """Without the scope of IPv6; of an IPv4 address as IPv6 shows it, the IPv4 address (RFC 4291)."""
    read = ip_address(address.partition("%")[0])
    return str(getattr(read, "ipv4_mapped", None) or read)


def _is_from(peer: AllowedPeer, address: str) -> bool:
    here = ip_address(address)
    return not peer.addresses or any(here in ip_network(each) for each in peer.addresses)
