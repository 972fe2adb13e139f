"""One frozen tree of settings: a TOML file, every key overridable by `ICH_TRIAGE_SECTION__KEY`."""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
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
    """Reserved for the worklist page, which this release does not serve yet."""

    #: address to listen on
    host: str = "127.0.0.1"
    #: TCP port to listen on
    port: int = Field(default=8080, ge=0, le=65535)


class Subscriber(_Section):
    """An application entity that may ask to hear of changes to the reading list."""

    #: unique short name
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    #: host name or address
    host: str
    #: TCP port
    port: int = Field(ge=1, le=65535)
    #: its AE title, by which it subscribes
    ae_title: str

    _ae = field_validator("ae_title")(_check_ae_title)


class Query(_Section):
    """Studies and their priorities, for other systems to ask by DICOM."""

    #: whether `ich-triage serve` runs it
    enabled: bool = False
    #: our AE title there; an association that calls another is rejected
    ae_title: str = "ICH_TRIAGE"
    #: address to listen on; other than loopback only with `calling_ae_titles`
    host: str = "127.0.0.1"
    #: TCP port to listen on; 0 lets the system choose
    port: int = Field(default=11113, ge=0, le=65535)
    #: who may ask, by AE title; empty lets every program on this machine ask
    calling_ae_titles: tuple[str, ...] = ()
    #: associations served at once; one more is rejected as "local limit exceeded"
    max_associations: int = Field(default=10, ge=1)
    #: silence after which an association is aborted, s
    network_timeout_s: float = Field(default=60.0, gt=0)
    #: matches in one answer at most; a question with more is told so
    max_answers: int = Field(default=1000, ge=1)
    #: AE title of the archive that has the images; empty names none
    retrieve_ae_title: str = ""
    #: how often changes of the list are looked for, s
    sweep_s: float = Field(default=1.0, gt=0)
    #: who may subscribe to changes, and where they are told
    subscribers: tuple[Subscriber, ...] = ()

    _ae = field_validator("ae_title")(_check_ae_title)

    @field_validator("calling_ae_titles")
    @classmethod
    def _callers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_check_ae_title(each) for each in value)

    @field_validator("retrieve_ae_title")
    @classmethod
    def _archive(cls, value: str) -> str:
        return _check_ae_title(value) if value.strip() else ""

    @model_validator(mode="after")
    def _guarded(self) -> Query:
        """The answers carry patient data: who may ask from elsewhere must be named."""
        if not self.calling_ae_titles and not _is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from other machines, and anybody there could ask for patients: "
                "name who may in calling_ae_titles, or set host to 127.0.0.1"
            )
        for values in zip(*((each.name, each.ae_title) for each in self.subscribers), strict=True):
            if len(values) != len(set(values)):
                raise ValueError("two subscribers have the same name or AE title")
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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


class Destination(_Section):
    """One place where results go."""

    #: unique short name
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    #: host name or address
    host: str
    #: TCP port
    port: int = Field(ge=1, le=65535)
    #: its AE title
    ae_title: str
    #: what it is sent
    outputs: tuple[Literal["sr", "capture"], ...] = ("sr", "capture")
    #: only flagged studies, or every one that reached a final state
    send: Literal["flagged", "all"] = "flagged"
    #: whether it is asked to commit to what it stored
    commitment: bool = False

    _ae = field_validator("ae_title")(_check_ae_title)


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
    #: the worklist page (not yet)
    web: Web = Web()
    #: questions of other systems by DICOM
    query: Query = Query()
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
