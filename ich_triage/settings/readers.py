"""The sections of what people and other systems look at: pages, log-in, questions by DICOM."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from ..errors import SettingsError
from .base import Section, check_ae_title, check_networks, is_loopback, secret_of
from .destinations import ClientTls
from .listener import Listener

_VIEWER_NAMES = {"study_instance_uid", "accession_number"}


class Web(Section):
    """The worklist pages and the JSON API."""

    #: address to listen on; others than this machine's own need TLS or a proxy
    host: str = "127.0.0.1"
    #: TCP port to listen on; 0 lets the system choose
    port: int = Field(default=8080, ge=0, le=65535)
    #: PEM file of the certificate chain; with `tls_key`, pages are served over HTTPS
    tls_certificate: Path | None = None
    #: PEM file of its private key
    tls_key: Path | None = None
    #: addresses or networks of the reverse proxies that end TLS before us; nobody else on other machines is
    #: served without our own TLS, and their X-Forwarded headers are believed
    trusted_proxies: tuple[str, ...] = ()
    #: address under which people reach the pages, as a proxy shows it; empty means the listener's own
    public_url: str = Field(default="", pattern=r"^(https?://[^/?#]+)?$")

    _networks = field_validator("trusted_proxies")(check_networks)

    @model_validator(mode="after")
    def _no_patient_data_in_clear(self) -> Web:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key come together")
        if not (is_loopback(self.host) or self.tls_key or self.trusted_proxies):
            raise ValueError(
                f"host {self.host} can be reached from other machines, without TLS; set tls_certificate and "
                "tls_key, or trusted_proxies where a proxy ends TLS, or host to 127.0.0.1"
            )
        return self


class Worklist(Section):
    """Who is read first, and what the list shows."""

    #: how long a study stays on the list after its last news, and its unclaimed step after its last slice, h
    hours: float = Field(default=72.0, gt=0)
    #: studies on one page
    page_size: int = Field(default=50, ge=1, le=500)
    #: waiting time after which who was not flagged is read beside the not analysed, s; 0 raises nobody
    rise_after_s: float = Field(default=14_400.0, ge=0)
    #: address of a study in the site's own viewer, with {study_instance_uid} or {accession_number} in it
    viewer_url: str = ""

    @field_validator("viewer_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if not value:
            return value
        names = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        if not value.startswith(("https://", "http://")) or not names <= _VIEWER_NAMES or not names:
            raise ValueError(
                "starts with https:// or http:// and has {study_instance_uid} or {accession_number} in it"
            )
        return value


class Access(Section):
    """Who may see the pages, and for how long a log-in lasts."""

    #: a session that asks for nothing for so long ends, s; an open worklist asks for something
    idle_s: float = Field(default=7200.0, gt=0)
    #: a session ends so long after its log-in, whatever happens, s
    session_s: float = Field(default=43200.0, gt=0)
    #: whether people log in with name and password; without, `[oidc]` alone lets anybody in
    passwords: bool = True


class Oidc(Section):
    """The OpenID Connect provider that vouches for people."""

    #: its issuer identifier, an https address; empty means that there is none
    issuer: str = Field(default="", pattern=r"^(https://[^?#]+|http://(localhost|127\.0\.0\.1)[^?#]*)?$")
    #: as what it knows us
    client_id: str = ""
    #: the secret that it gave us; better in the environment than in the file
    client_secret: SecretStr = SecretStr("")
    #: file with that secret, in its place
    client_secret_file: Path | None = None
    #: what it is asked for; `openid` is always among it
    scopes: tuple[str, ...] = ("openid", "profile")
    #: claim with the name under which the person is known here
    name_claim: str = "preferred_username"
    #: claim with the person's groups; dots lead into claims within claims
    role_claim: str = "groups"
    #: which group has which role; the first that fits decides
    roles: dict[str, Literal["radiologist", "admin"]] = Field(default={})

    @model_validator(mode="after")
    def _complete(self) -> Oidc:
        if self.issuer and not (self.client_id and self.roles and "openid" in self.scopes):
            raise ValueError("issuer needs client_id, roles, and openid among scopes")
        return self

    def secret(self) -> str:
        """The secret, wherever it is kept. Raises SettingsError."""
        if self.client_secret_file is None:
            return self.client_secret.get_secret_value()
        try:
            return secret_of(self.client_secret_file)
        except ValueError as error:
            raise SettingsError(f"[oidc] client_secret_file: {error}") from error


class Subscriber(ClientTls):
    """An application entity that may ask to hear of changes to the reading list."""

    #: unique short name
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    #: host name or address
    host: str
    #: TCP port
    port: int = Field(ge=1, le=65535)
    #: its AE title, by which it subscribes
    ae_title: str

    _ae = field_validator("ae_title")(check_ae_title)


class Query(Listener):
    """Studies and their priorities, for other systems to ask by DICOM."""

    #: whether `ich-triage serve` runs it
    enabled: bool = False
    #: address to listen on; other than loopback only where it is known who may ask
    host: str = "127.0.0.1"
    #: TCP port to listen on; 0 lets the system choose
    port: int = Field(default=11113, ge=0, le=65535)
    #: TCP port for TLS, served where there is a `tls_certificate`; 0 lets the system choose
    tls_port: int = Field(default=2763, ge=0, le=65535)
    #: who may ask, by AE title; empty lets every program on this machine ask, or those of `[[peers]]`
    calling_ae_titles: tuple[str, ...] = ()
    #: associations served at once; one more is rejected as "local limit exceeded"
    max_associations: int = Field(default=10, ge=1)
    #: associations of one address served at once; one more is rejected as "local limit exceeded"
    max_associations_per_address: int = Field(default=10, ge=1)
    #: matches in one answer at most; a question with more is told so
    max_answers: int = Field(default=1000, ge=1)
    #: AE title of the archive that has the images; empty names none
    retrieve_ae_title: str = ""
    #: a claimed step whose reader has been silent for so long is canceled and scheduled anew, h
    claim_limit_h: float = Field(default=12.0, gt=0)
    #: how often changes of the list are looked for, s
    sweep_s: float = Field(default=1.0, gt=0)
    #: who may subscribe to changes, and where they are told
    subscribers: tuple[Subscriber, ...] = ()

    @field_validator("calling_ae_titles")
    @classmethod
    def _callers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_ae_title(each) for each in value)

    @field_validator("retrieve_ae_title")
    @classmethod
    def _archive(cls, value: str) -> str:
        return check_ae_title(value) if value.strip() else ""

    @property
    def anybody_may_ask(self) -> bool:
        """Whether neither a list nor a certificate keeps others on the network away."""
        return self.open_to_strangers and not self.calling_ae_titles

    @model_validator(mode="after")
    def _told_apart(self) -> Query:
        for values in zip(*((each.name, each.ae_title) for each in self.subscribers), strict=True):
            if len(values) != len(set(values)):
                raise ValueError("two subscribers have the same name or AE title")
        return self
