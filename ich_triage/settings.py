"""One frozen tree of settings: a TOML file, every key overridable by `ICH_TRIAGE_SECTION__KEY`."""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .errors import SettingsError

CONFIG_VARIABLE = "ICH_TRIAGE_CONFIG"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_ae_title(value: str) -> str:
    """PS3.5 Table 6.2-1, VR AE: 16 characters of the default repertoire, no backslash or control."""
    title = value.strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


class Dicom(_Section):
    """The listener."""

    #: our AE title; an association that calls another is rejected
    ae_title: str = "ICH_TRIAGE"
    #: address to listen on
    host: str = "0.0.0.0"
    #: TCP port to listen on; 0 lets the system choose
    port: int = Field(default=11112, ge=0, le=65535)
    #: associations served at once; one more is rejected as "local limit exceeded"
    max_associations: int = Field(default=25, ge=1)
    #: largest PDU that we take, bytes
    max_pdu_bytes: int = Field(default=131072, ge=4096)
    #: silence after which an association is aborted, s
    network_timeout_s: float = Field(default=60.0, gt=0)
    #: calling AE titles whose studies are read first, as if STAT
    stat_ae_titles: tuple[str, ...] = ()

    _ae = field_validator("ae_title")(_check_ae_title)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Database(_Section):
    """Where results and the index live."""

    #: SQLAlchemy URL: sqlite:///file or postgresql+psycopg://…
    url: str = "sqlite:///var/ich.sqlite"

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("starts with neither sqlite:/// nor postgresql+psycopg://")
        return value


class Spool(_Section):
    """Where received files live."""

    #: folder
    path: Path = Path("var/spool")
    #: free space kept; below it C-STORE answers A700, bytes
    reserve_bytes: int = Field(default=2_000_000_000, ge=0)


class Web(_Section):
    """The worklist pages and the JSON API."""

    #: address to listen on; others than this machine's own need TLS or a proxy
    host: str = "127.0.0.1"
    #: TCP port to listen on; 0 lets the system choose
    port: int = Field(default=8080, ge=0, le=65535)
    #: PEM file of the certificate chain; with `tls_key`, pages are served over HTTPS
    tls_certificate: Path | None = None
    #: PEM file of its private key
    tls_key: Path | None = None
    #: addresses of the reverse proxies that end TLS before us; their X-Forwarded headers are believed
    trusted_proxies: tuple[str, ...] = ()
    #: address under which people reach the pages, as a proxy shows it; empty means the listener's own
    public_url: str = Field(default="", pattern=r"^(https?://[^/?#]+)?$")

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


class Worklist(_Section):
    """Who is read first, and what the list shows."""

    #: how long a study stays on the list after its first slice, h
    hours: float = Field(default=72.0, gt=0)
    #: studies on one page
    page_size: int = Field(default=50, ge=1, le=500)
    #: waiting time after which a study is read one step more urgent, s; 0 raises nobody
    rise_after_s: float = Field(default=14_400.0, ge=0)
    #: the most urgent place that waiting leads to: that of the not analysed, or of the flagged
    rise_to: Literal["unknown", "flagged"] = "unknown"
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


_VIEWER_NAMES = {"study_instance_uid", "accession_number"}


class Access(_Section):
    """Who may see the pages, and for how long a log-in lasts."""

    #: a session that asks for nothing for so long ends, s; an open worklist asks for something
    idle_s: float = Field(default=7200.0, gt=0)
    #: a session ends so long after its log-in, whatever happens, s
    session_s: float = Field(default=43200.0, gt=0)
    #: whether people log in with name and password; without, `[oidc]` alone lets anybody in
    passwords: bool = True


class Oidc(_Section):
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
    roles: dict[str, Literal["radiologist", "admin"]] = {}

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
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"cannot read {self.client_secret_file}: mend it, or [oidc] client_secret_file"
            ) from error


class Assembly(_Section):
    """When is a study complete."""

    #: silence after which a geometrically whole series is complete, s
    settle_s: float = Field(default=1.0, gt=0)
    #: silence after which any study is complete, s
    quiet_s: float = Field(default=10.0, gt=0)
    #: longest wait after the first slice, s
    cap_s: float = Field(default=300.0, gt=0)
    #: how often the sweep looks, s
    sweep_s: float = Field(default=0.25, gt=0)


class Device(StrEnum):
    """Where inference runs."""

    #: CUDA when there, else CPU
    AUTO = "auto"
    #: OpenVINO
    CPU = "cpu"
    #: torch on NVIDIA
    CUDA = "cuda"


class Model(_Section):
    """Which model, and how it runs."""

    #: package folder; pins it and overrules the registry
    package: Path | None = None
    #: folder of the registry of packages; all workers must reach it
    registry: Path = Path("var/models")
    #: operating point of the package
    operating_point: str = "balanced"
    #: share of this site's studies with a bleed; probabilities are corrected to it, empty means as trained
    prevalence: float | None = Field(default=None, gt=0, lt=1)
    #: where inference runs
    device: Device = Device.AUTO
    #: CPU threads for inference; 0 means all
    threads: int = Field(default=0, ge=0)
    #: slices in one batch at most
    batch_slices: int = Field(default=32, ge=1)
    #: wait for other studies' slices before a batch starts, s
    batch_wait_s: float = Field(default=0.01, ge=0)


class Worker(_Section):
    """The analysing process."""

    #: studies in work at once
    concurrency: int = Field(default=4, ge=1)
    #: how often new work is looked for, s
    poll_s: float = Field(default=0.2, gt=0)
    #: how often a worker says it lives, s
    heartbeat_s: float = Field(default=2.0, gt=0)
    #: silence after which a worker is taken for dead, s
    dead_after_s: float = Field(default=10.0, gt=0)
    #: a worker that is busy with one study for so long ends itself, s; a study takes seconds
    study_limit_s: float = Field(default=600.0, gt=0)
    #: a study on which that many workers died is failed
    max_attempts: int = Field(default=5, ge=1)


class Delivery(_Section):
    """How results travel."""

    #: first wait after a failed attempt, s; doubles each time
    backoff_s: float = Field(default=2.0, gt=0)
    #: longest wait between two attempts, s
    backoff_max_s: float = Field(default=600.0, gt=0)
    #: attempts before the delivery is dead; with the default waits about a day
    max_attempts: int = Field(default=150, ge=1)
    #: wait for a storage commitment result before asking again, s
    commitment_timeout_s: float = Field(default=300.0, gt=0)
    #: connect and answer time-out, s
    timeout_s: float = Field(default=30.0, gt=0)


class _Destination(_Section):
    """What every place where results go has."""

    #: unique short name
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    #: only flagged studies, or every one that reached a final state
    send: Literal["flagged", "all"] = "flagged"


class DicomDestination(_Destination):
    """A PACS: objects by C-STORE."""

    #: what it speaks
    kind: Literal["dicom"] = "dicom"
    #: host name or address
    host: str
    #: TCP port
    port: int = Field(ge=1, le=65535)
    #: its AE title
    ae_title: str
    #: what it is sent
    outputs: tuple[Literal["sr", "capture"], ...] = ("sr", "capture")
    #: whether it is asked to commit to what it stored
    commitment: bool = False

    _ae = field_validator("ae_title")(_check_ae_title)


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


class MllpDestination(_Destination):
    """A hospital information system or interface engine: HL7 v2 messages over MLLP."""

    #: what it speaks
    kind: Literal["mllp"]
    #: host name or address
    host: str
    #: TCP port
    port: int = Field(ge=1, le=65535)
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
    #: whether the connection is encrypted
    tls: bool = False
    #: certificates that may have signed its own, PEM; empty means those that this machine trusts
    ca_file: Path | None = None
    #: our certificate, where it asks for one, PEM
    certificate_file: Path | None = None
    #: its private key, PEM; empty where the certificate's file holds it too
    key_file: Path | None = None

    @model_validator(mode="after")
    def _files_need_tls(self) -> MllpDestination:
        if (self.ca_file or self.certificate_file or self.key_file) and not self.tls:
            raise ValueError("ca_file, certificate_file and key_file need tls = true")
        if self.key_file and not self.certificate_file:
            raise ValueError("key_file needs certificate_file")
        return self


class WebhookDestination(_Destination):
    """Any program: signed JSON by HTTP POST."""

    #: what it speaks
    kind: Literal["webhook"]
    #: where to post to: https, or http to this machine
    url: str
    #: file with the signing secret; empty means that the environment has it
    secret_file: Path | None = None
    #: certificates that may have signed its own, PEM; empty means those that this machine trusts
    ca_file: Path | None = None
    #: whether http to another machine is allowed, which anybody on the way can read
    allow_plain_http: bool = False

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
        if parts.scheme == "http" and not (self.allow_plain_http or _is_this_machine(parts.hostname)):
            raise ValueError("url is http to another machine; use https, or set allow_plain_http = true")
        return self


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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


class Log(_Section):
    """Structured log."""

    #: lowest level written
    level: Literal["debug", "info", "warning", "error"] = "info"
    #: one JSON object a line, or for human eyes
    format: Literal["json", "console"] = "json"


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix="ICH_TRIAGE_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    #: the listener
    dicom: Dicom = Dicom()
    #: results and index
    database: Database = Database()
    #: received files
    spool: Spool = Spool()
    #: the worklist pages and the API
    web: Web = Web()
    #: who is read first
    worklist: Worklist = Worklist()
    #: sessions
    access: Access = Access()
    #: who else vouches for people
    oidc: Oidc = Oidc()
    #: completeness
    assembly: Assembly = Assembly()
    #: the model
    model: Model = Model()
    #: the analysing process
    worker: Worker = Worker()
    #: how results travel
    delivery: Delivery = Delivery()
    #: where results go
    destinations: tuple[Destination, ...] = ()
    #: structured log
    log: Log = Log()

    @model_validator(mode="after")
    def _unique_names(self) -> Settings:
        names = [destination.name for destination in self.destinations]
        if len(names) != len(set(names)):
            raise ValueError("two destinations have the same name")
        return self

    @model_validator(mode="after")
    def _somebody_can_log_in(self) -> Settings:
        if not self.access.passwords and "admin" not in self.oidc.roles.values():
            raise ValueError(
                "[access] passwords = false leaves nobody who can log in as admin; set [oidc], with a group "
                "for admins among its roles"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file's values (which arrive as init arguments)."""
        return env_settings, init_settings


def load(path: Path | None = None) -> Settings:
    """Read settings from `path`, else from the file named by `ICH_TRIAGE_CONFIG`, else defaults.

    Raises SettingsError naming the key and what is wrong with it.
    """
    if path is None and (named := os.environ.get(CONFIG_VARIABLE)):
        path = Path(named)
    values: dict[str, Any] = _read_toml(path) if path else {}
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'settings'}: {item['msg']}"
            for item in error.errors()
        )
        raise SettingsError(f"{path or 'environment'}: {problems}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
