"""The sections of those who watch the service: metrics and health, and the audit trail."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator

from .base import Section, check_networks

#: how syslog travels → the port that its RFC gives it (5426, 6587, 5425)
SYSLOG_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}


class Metrics(Section):
    """What Prometheus asks for, and whether each process is well."""

    #: address on which receiver, worker and query answer
    host: str = "127.0.0.1"
    #: TCP port of the receiver there; 0 lets the system choose, empty opens none
    receiver_port: int | None = Field(default=None, ge=0, le=65535)
    #: TCP port of the worker
    worker_port: int | None = Field(default=None, ge=0, le=65535)
    #: TCP port of the query process
    query_port: int | None = Field(default=None, ge=0, le=65535)
    #: addresses or networks that are given metrics without a token
    allowed: tuple[str, ...] = ("127.0.0.1", "::1")
    #: how far back shares, latencies and scores look, h
    hours: float = Field(default=24.0, gt=0)

    _networks = field_validator("allowed")(check_networks)


class Audit(Section):
    """Where the audit trail goes besides the database, after DICOM PS3.15 A.5."""

    #: file that messages are appended to, one a line; empty writes none
    file: Path | None = None
    #: syslog server: udp://host, tcp://host or tls://host, with :port where it is not the usual one
    syslog: str = ""
    #: certificates that may have signed the server's own, PEM; empty means those that this machine trusts
    ca_file: Path | None = None
    #: our certificate, where the server asks for one, PEM
    certificate_file: Path | None = None
    #: its private key, PEM; empty where the certificate's file holds it too
    key_file: Path | None = None
    #: AuditSourceID: what the collector calls this installation
    source_id: str = Field(default="ICH_TRIAGE", min_length=1)
    #: AuditEnterpriseSiteID: the hospital; empty names none
    site_id: str = ""
    #: whether messages name the patient by ID, as the standard wants it; else the study's UID alone
    patient_id: bool = False

    @property
    def syslog_address(self) -> SplitResult:
        """The parts of `syslog`."""
        return urlsplit(self.syslog)

    @field_validator("syslog")
    @classmethod
    def _server(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (
            parts.scheme not in SYSLOG_PORTS or not parts.hostname or parts.port == 0 or parts.path.strip("/")
        ):
            raise ValueError("is not of the form tls://host:6514, tcp://host or udp://host")
        return value

    @model_validator(mode="after")
    def _files_need_tls(self) -> Audit:
        if (self.ca_file or self.certificate_file or self.key_file) and not self.syslog.startswith("tls:"):
            raise ValueError('ca_file, certificate_file and key_file need syslog = "tls://…"')
        if self.key_file and not self.certificate_file:
            raise ValueError("key_file needs certificate_file")
        return self
