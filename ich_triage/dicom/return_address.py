"""Where a peer that has asked for storage commitment is told, once its association is over."""

from __future__ import annotations

from ..settings import DicomDestination, Settings
from ..settings.base import is_among
from .scu import Peer


def return_address(settings: Settings, ae_title: str, address: str) -> Peer | None:
    """Of `[[peers]]` with a port the one that calls from `address`, else any of them; else a destination.

    None where none has this AE title: such a peer can be told on its own association alone.
    """
    listed = [peer for peer in settings.peers if peer.ae_title == ae_title and peer.port]
    listed.sort(key=lambda peer: not is_among(address, peer.addresses))
    for peer in listed:
        tls = peer if peer.tls else None
        return Peer(host=peer.host or address, port=peer.port or 0, ae_title=ae_title, tls=tls)
    for destination in settings.destinations:
        if isinstance(destination, DicomDestination) and destination.ae_title == ae_title:
            return Peer.of(destination)
    return None


def told_ae_titles(settings: Settings) -> list[str]:
    """Every AE title that has such an address."""
    peers = [peer.ae_title for peer in settings.peers if peer.port]
    archives = [each.ae_title for each in settings.destinations if isinstance(each, DicomDestination)]
    return list(dict.fromkeys([*peers, *archives]))
