"""What `ich-triage doctor` sees of DICOM: our own ports, and peers that are told what we commit to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from .. import tls
from ..dicom import scu
from ..dicom.return_address import return_address
from ..errors import IchTriageError
from ..settings import Dicom, Query, Settings
from .findings import Finding, error, ok, warning

#: process that listens → its section of the configuration
_SECTIONS = {"receiver": "dicom", "query": "query"}
#: how long before its end a certificate is to be renewed
_RENEW = timedelta(days=30)
#: how a peer says that it does not know us (PS3.8 Table 9-21), as pynetdicom words it
_NOT_RECOGNIZED = "calling ae title not recogni"


def look_at_listener(
    subject: str, listener: Dicom | Query, process: str, loaded: Settings, *, calling: str
) -> Iterator[Finding]:
    """Either nothing listens yet, or it is us; and whether TLS can be served."""
    if listener.tls_certificate:
        yield _certificate(subject, listener, process)
    if not listener.plain:
        return
    where = f"{listener.host}:{listener.port}"
    if not (reason := _taken(listener.host, listener.port)):
        yield ok(subject, f"{where} is free, the {process} process is not running")
        return
    try:
        us = scu.Peer(host=_here(listener.host), port=listener.port, ae_title=listener.ae_title)
        scu.echo(us, calling=calling, timeout_s=loaded.delivery.timeout_s)
        yield ok(subject, f"{where} answers as {listener.ae_title}")
    except IchTriageError as caught:
        if loaded.peers and _NOT_RECOGNIZED in str(caught).lower():
            yield ok(subject, f"{where} answers, and turns away who is not among [[peers]]")
            return
        yield error(
            subject,
            seen=f"{where} cannot be used ({reason}), nor does {listener.ae_title} answer there: {caught}",
            remedy=f"stop the other program, or set [{_SECTIONS[process]}] host and port "
            "(a port below 1024 needs a right)",
        )


def _certificate(subject: str, listener: Dicom | Query, process: str) -> Finding:
    """Whether the files can be served, how long the certificate is good, and whether the port is ours."""
    where, section = f"{listener.host}:{listener.tls_port}", _SECTIONS[process]
    try:
        ends = tls.served_until(listener)
    except IchTriageError as caught:
        return error(f"{subject}, TLS", seen=str(caught), remedy=f"mend the files, or [{section}]")
    left = ends - datetime.now(UTC)
    seen = f"{where}, certificate good until {ends:%Y-%m-%d}"
    if left < timedelta(0):
        renew = "renew it: replace the files, a restart is not needed"
        return error(f"{subject}, TLS", seen=f"{where}, certificate expired on {ends:%Y-%m-%d}", remedy=renew)
    if reason := _taken(listener.host, listener.tls_port):
        try:
            tls.answers(_here(listener.host), listener.tls_port, timeout_s=5.0)
        except OSError as caught:
            return error(
                f"{subject}, TLS",
                seen=f"{where} cannot be used ({reason}), nor does TLS answer there ({tls.why(caught)})",
                remedy=f"stop the other program, or set [{section}] tls_port",
            )
    if left < _RENEW:
        return warning(
            f"{subject}, TLS", seen=seen, remedy="renew it soon: peers refuse one that has expired"
        )
    return ok(f"{subject}, TLS", seen)


def _taken(host: str, port: int) -> str:
    """Why that port cannot be listened on; empty where it can."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as caught:
        return caught.strerror or type(caught).__name__
    return ""


def _here(host: str) -> str:
    """Where this machine reaches a listener of its own."""
    return "127.0.0.1" if host == "0.0.0.0" else host


def look_at_commitment(loaded: Settings) -> Iterator[Finding]:
    """Whether peers that ask for storage commitment can be told, and what our word is worth."""
    asking = [peer for peer in loaded.peers if peer.port]
    for peer in asking:
        if where := peer.host and return_address(loaded, peer.ae_title, peer.host):
            yield echoes(f"peer {peer.name}", where, calling=loaded.dicom.ae_title, loaded=loaded)
    kept = loaded.retention
    removes = [key for key in ("studies_days", "images_days", "free_bytes") if getattr(kept, key)]
    if asking and removes:
        yield warning(
            "storage commitment",
            seen=f"{', '.join(peer.name for peer in asking)} may ask for it, and images go after "
            f"[retention] {', '.join(removes)}",
            remedy="see that none of them deletes images on our word alone (docs/privacy.md)",
        )


def echoes(subject: str, peer: scu.Peer, *, calling: str, loaded: Settings) -> Finding:
    """Whether it answers C-ECHO."""
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    try:
        scu.echo(peer, calling=calling, timeout_s=loaded.delivery.timeout_s)
    except IchTriageError as caught:
        return error(
            subject,
            seen=f"{where} does not answer C-ECHO: {caught}",
            remedy=f"check host, port, AE title and TLS; it must know us as {calling}",
        )
    return ok(subject, f"{where} answers C-ECHO")
