"""The sections of receiver, worker and what both stand on."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .base import Section, secret_of
from .listener import Listener


class Dicom(Listener):
    """The listener."""

    #: largest PDU that we take, bytes
    max_pdu_bytes: int = Field(default=131072, ge=4096)
    #: longest data set that we take, bytes; a longer one is answered A700 and not kept
    max_object_bytes: int = Field(default=1 << 32, ge=1 << 20)
    #: a storage commitment result that its peer has not taken for so long is given up, h
    commitment_limit_h: float = Field(default=24.0, gt=0)
    #: calling AE titles whose studies are read first, as if STAT
    stat_ae_titles: tuple[str, ...] = ()


class Database(Section):
    """Where results and the index live."""

    #: SQLAlchemy URL: sqlite:///file or postgresql+psycopg://…
    url: str = Field(default="sqlite:///var/ich.sqlite", repr=False)
    #: file with the password of the URL's user, in the place of one in `url`
    password_file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_password(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("password_file"):
            return values
        url = _url(str(values.get("url", cls.model_fields["url"].default)))
        if url.get_backend_name() != "postgresql" or not url.username or url.password:
            raise ValueError("password_file needs a url of the form postgresql+psycopg://USER@HOST/DATABASE")
        password = secret_of(Path(values["password_file"]))
        return values | {"url": url.set(password=password).render_as_string(hide_password=False)}

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("starts with neither sqlite:/// nor postgresql+psycopg://")
        if hidden := {"password", "sslpassword"} & _url(value).query.keys():
            raise ValueError(f"{min(hidden)} behind the ? would be shown: put it into password_file")
        return value


def _url(value: str) -> URL:
    """Raises ValueError, without a word of the value: it may hold a password."""
    try:
        return make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError(
            "is no URL: in a password @ : / % are written %40 %3A %2F %25; or put it into password_file"
        ) from None


class Spool(Section):
    """Where received files live."""

    #: folder; with `url`, what passes through this machine
    path: Path = Path("var/spool")
    #: s3://bucket/prefix of an S3-compatible store that keeps everything instead; empty keeps it in `path`
    url: str = ""
    #: http:// or https:// address of the store; empty means the one of AWS in `region`
    endpoint: str = ""
    #: region of the bucket; empty means as the environment says, else us-east-1
    region: str = ""
    #: PEM file of the authority that signed the store's certificate; empty means those of the system
    ca_file: Path | None = None
    #: INI file with aws_access_key_id and aws_secret_access_key below [default]; empty means the environment
    credentials_file: Path | None = None
    #: free space kept; below it C-STORE answers A700, bytes
    reserve_bytes: int = Field(default=2_000_000_000, ge=0)

    @property
    def where(self) -> str:
        """What keeps it, for people to read."""
        return self.url.rstrip("/") or str(self.path)

    @field_validator("url")
    @classmethod
    def _is_a_bucket(cls, value: str) -> str:
        where = urlsplit(value)
        if value and not (where.scheme == "s3" and where.netloc):
            raise ValueError("is not s3://bucket or s3://bucket/prefix")
        if "@" in where.netloc or where.query:
            raise ValueError("has no place for credentials: give them in credentials_file or the environment")
        return value

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("starts with neither http:// nor https://")
        return value

    @model_validator(mode="after")
    def _of_a_store(self) -> Spool:
        named = [key for key in ("endpoint", "region", "ca_file", "credentials_file") if getattr(self, key)]
        if named and not self.url:
            raise ValueError(f"{named[0]} is for an object store: set url, too")
        return self


class Retention(Section):
    """What is deleted when. Nothing is that the list still shows, or that is not settled."""

    #: studies with all that is known of them go so long after their last news; 0 keeps them, days
    studies_days: float = Field(default=0.0, ge=0)
    #: their images alone go so long after it; 0 keeps them as long as the study, days
    images_days: float = Field(default=0.0, ge=0)
    #: records of the audit trail go after so long; 0 keeps them, days
    audit_days: float = Field(default=0.0, ge=0)
    #: with less free space above the spool's reserve, images of the oldest studies go; 0 never, bytes
    free_bytes: int = Field(default=10_000_000_000, ge=0)
    #: until so much above the reserve is free again, bytes
    free_until_bytes: int = Field(default=20_000_000_000, ge=0)

    @model_validator(mode="after")
    def _marks_in_order(self) -> Retention:
        if self.free_until_bytes < self.free_bytes:
            raise ValueError("free_until_bytes is below free_bytes: nothing would ever be enough")
        return self


class Assembly(Section):
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


class Model(Section):
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


class Worker(Section):
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


class Delivery(Section):
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


class Log(Section):
    """Structured log."""

    #: lowest level written
    level: Literal["debug", "info", "warning", "error"] = "info"
    #: one JSON object a line, or for human eyes
    format: Literal["json", "console"] = "json"
