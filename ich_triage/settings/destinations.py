"""Where results go: `[[destinations]]`, by kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from .base import Section, check_ae_title, is_loopback


class ClientTls(Section):
    """How a connection that we open is encrypted."""

    #: whether the connection is encrypted
    tls: bool = False
    #: certificates that may have signed its own, PEM; empty means those that this machine trusts
    ca_file: Path | None = None
    #: our certificate, where it asks for one, PEM
    certificate_file: Path | None = None
    #: its private key, PEM; empty where the certificate's file holds it too
    key_file: Path | None = None

    @model_validator(mode="after")
    def _files_need_tls(self) -> Self:
        if (self.ca_file or self.certificate_file or self.key_file) and not self.tls:
            raise ValueError("ca_file, certificate_file and key_file need tls = true")
        if self.key_file and not self.certificate_file:
            raise ValueError("key_file needs certificate_file")
        return self


class _Destination(Section):
    """What every place where results go has."""

    #: unique short name
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    #: only flagged studies, or every one that reached a final state
    send: Literal["flagged", "all"] = "flagged"


class _HostDestination(_Destination, ClientTls):
    """One that is reached at a host and port."""

    #: host name or address
    host: str
    #: TCP port
    port: int = Field(ge=1, le=65535)

    @property
    def address(self) -> tuple[str, int]:
        """Host and TCP port to connect to."""
        return self.host, self.port


class DicomDestination(_HostDestination):
    """A PACS: objects by C-STORE."""

    #: what it speaks
    kind: Literal["dicom"] = "dicom"
    #: its AE title
    ae_title: str
    #: what it is sent
    outputs: tuple[Literal["sr", "capture"], ...] = ("sr", "capture")
    #: whether it is asked to commit to what it stored
    commitment: bool = False

    _ae = field_validator("ae_title")(check_ae_title)


#: character sets of HL7 table 0211 (v2.5.1) that have one codec each


CharacterSet = Literal[
    "UNICODE UTF-8",
    "ASCII",
    "8859/1",
    "8859/2",
    "8859/3",
    "8859/4",
    "8859/5",
    "8859/6",
    "8859/7",
    "8859/8",
    "8859/9",
]


class MllpDestination(_HostDestination):
    """A hospital information system or interface engine: HL7 v2 messages over MLLP."""

    #: what it speaks
    kind: Literal["mllp"]
    #: MSH-3, who we are
    sending_application: str = "ICH_TRIAGE"
    #: MSH-4, where we are
    sending_facility: str = ""
    #: MSH-5, who it is
    receiving_application: str = ""
    #: MSH-6, where it is
    receiving_facility: str = ""
    #: MSH-18, also how the message is encoded
    encoding: CharacterSet = "UNICODE UTF-8"


class WebhookDestination(_Destination):
    """Any program: signed JSON by HTTP POST."""

    #: what it speaks
    kind: Literal["webhook"]
    #: where to post to: https, or http to this machine; some services put a secret into it
    url: str = Field(repr=False)
    #: file with the signing secret; empty means that the environment has it
    secret_file: Path | None = None
    #: certificates that may have signed its own, PEM; empty means those that this machine trusts
    ca_file: Path | None = None
    #: whether http to another machine is allowed, which anybody on the way can read
    allow_plain_http: bool = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and TCP port to connect to."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or {"https": 443, "http": 80}[parts.scheme]

    @property
    def secret_variable(self) -> str:
        """Name of the environment variable that may hold the secret."""
        return f"ICH_TRIAGE_WEBHOOK_SECRET_{self.name.upper().replace('-', '_')}"

    @model_validator(mode="after")
    def _safe_url(self) -> WebhookDestination:
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.port == 0:
            raise ValueError("url is not of the form https://host/path")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url holds a user name or password; use the signature instead")
        if parts.scheme == "http" and not (self.allow_plain_http or is_loopback(parts.hostname)):
            raise ValueError("url is http to another machine; use https, or set allow_plain_http = true")
        return self


def _destination_kind(value: Any) -> Any:
    """`kind`, which a table of an earlier release does not have."""
    return value.get("kind", "dicom") if isinstance(value, dict) else getattr(value, "kind", None)


#: one place where results go; `kind` says which


Destination = Annotated[
    Annotated[DicomDestination, Tag("dicom")]
    | Annotated[MllpDestination, Tag("mllp")]
    | Annotated[WebhookDestination, Tag("webhook")],
    Discriminator(
        _destination_kind,
        custom_error_type="unknown_kind",
        custom_error_message="kind is none of dicom, mllp, webhook",
    ),
]
