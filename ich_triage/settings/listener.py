"""What both DICOM listeners have in common: ports, TLS, how many may come; and `[[peers]]`, who may."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from .base import Section, check_ae_title, check_networks, is_loopback
from .destinations import ClientTls

#: what a peer may be allowed; every peer may verify (C-ECHO)
Right = Literal["store", "query", "commit"]


class Listener(Section):
    """One AE: a port without encryption, a port with TLS, or both."""

    #: our AE title; an association that calls another is rejected
    ae_title: str = "ICH_TRIAGE"
    #: address to listen on
    host: str = "0.0.0.0"
    #: TCP port to listen on; 0 lets the system choose
    port: int = Field(default=11112, ge=0, le=65535)
    #: whether `port` is served, which is not encrypted
    plain: bool = True
    #: TCP port for TLS, served where there is a `tls_certificate`; 0 lets the system choose
    tls_port: int = Field(default=2762, ge=0, le=65535)
    #: our certificate with those between it and its authority, PEM; empty means no TLS
    tls_certificate: Path | None = None
    #: its private key, PEM, unencrypted; empty where the certificate's file holds it too
    tls_key: Path | None = None
    #: authorities of the peers' certificates, PEM; with it every peer must show one
    tls_client_ca: Path | None = None
    #: associations served at once; one more is rejected as "local limit exceeded"
    max_associations: int = Field(default=25, ge=1)
    #: associations of one address served at once; one more is rejected as "local limit exceeded"
    max_associations_per_address: int = Field(default=25, ge=1)
    #: connections of one address within a minute; one more is closed at once
    max_connections_per_minute: int = Field(default=6000, ge=1)
    #: whether several processes of this host may listen on these ports; each connection goes to one of them
    share_ports: bool = False
    #: silence after which an association is aborted, s
    network_timeout_s: float = Field(default=60.0, gt=0)
    #: time in which a message, the largest object too, must arrive whole; else the association is aborted, s
    message_timeout_s: float = Field(default=1800.0, gt=0)

    _ae = field_validator("ae_title")(check_ae_title)

    @property
    def where(self) -> str:
        """Address and ports that it listens on, for people."""
        ports = [self.port] * self.plain + [self.tls_port] * (self.tls_certificate is not None)
        return f"{self.host}:{' and '.join(map(str, ports))}"

    @property
    def open_to_strangers(self) -> bool:
        """Whether others on the network reach it without a certificate."""
        by_certificate = self.tls_client_ca is not None and not self.plain
        return not (by_certificate or is_loopback(self.host))

    @model_validator(mode="after")
    def _a_port_to_listen_on(self) -> Listener:
        if not self.tls_certificate and (self.tls_key or self.tls_client_ca):
            raise ValueError("tls_key and tls_client_ca need tls_certificate")
        if not self.tls_certificate and not self.plain:
            raise ValueError("plain = false needs tls_certificate, else nothing is listened on")
        return self


class AllowedPeer(ClientTls):
    """An application entity that may open associations to our listeners; and how we open one to it."""

    #: unique short name
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    #: its AE title, by which it calls
    ae_title: str
    #: addresses or networks from which it calls; empty means any
    addresses: tuple[str, ...] = ()
    #: what it may do
    rights: tuple[Right, ...]
    #: name that its certificate must bear, as common name or subject alternative name; empty means any
    certificate_name: str = ""
    #: host name or address to which storage commitment results go; empty means the address that asked
    host: str = ""
    #: TCP port there; empty means that it is told on the association that asked alone
    port: int | None = Field(default=None, ge=1, le=65535)

    _ae = field_validator("ae_title")(check_ae_title)
    _networks = field_validator("addresses")(check_networks)

    @model_validator(mode="after")
    def _told_where_it_may_ask(self) -> AllowedPeer:
        if self.port is None and (self.host or self.tls):
            raise ValueError("host and tls need port, at which storage commitment results are taken")
        if self.port is not None and "commit" not in self.rights:
            raise ValueError('port is for storage commitment results, which need the right "commit"')
        return self
