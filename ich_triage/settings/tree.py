"""One frozen tree of settings: a TOML file, every key overridable by `ICH_TRIAGE_SECTION__KEY`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from ..errors import SettingsError, wrong_value
from .destinations import Destination
from .listener import AllowedPeer
from .readers import Access, Oidc, Query, Web, Worklist
from .service import Assembly, Database, Delivery, Dicom, Log, Model, Retention, Spool, Worker
from .watching import Audit, Metrics

CONFIG_VARIABLE = "ICH_TRIAGE_CONFIG"


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix="ICH_TRIAGE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    #: the listener
    dicom: Dicom = Dicom()
    #: results and index
    database: Database = Database()
    #: received files
    spool: Spool = Spool()
    #: what is deleted when
    retention: Retention = Retention()
    #: the worklist pages and the API
    web: Web = Web()
    #: who is read first
    worklist: Worklist = Worklist()
    #: sessions
    access: Access = Access()
    #: who else vouches for people
    oidc: Oidc = Oidc()
    #: questions of other systems by DICOM
    query: Query = Query()
    #: who may open associations to the listener and to the questions; empty means whoever those let in
    peers: tuple[AllowedPeer, ...] = ()
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
    #: metrics and health
    metrics: Metrics = Metrics()
    #: where the audit trail goes besides the database
    audit: Audit = Audit()

    @model_validator(mode="after")
    def _unique_names(self) -> Settings:
        for kind, those in (("destinations", self.destinations), ("peers", self.peers)):
            if len(those) != len({each.name for each in those}):
                raise ValueError(f"two {kind} have the same name")
        return self

    @model_validator(mode="after")
    def _patients_are_not_for_anybody(self) -> Settings:
        """The answers carry patient data: who may ask from elsewhere must be named."""
        if self.query.anybody_may_ask and not self.peers:
            raise ValueError(
                f"[query] host {self.query.host} can be reached from other machines, and anybody there could "
                "ask for patients: name who may in calling_ae_titles or [[peers]], or set host to 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _certificates_are_asked_for(self) -> Settings:
        named = [peer.name for peer in self.peers if peer.certificate_name]
        if named and not (self.dicom.tls_client_ca or self.query.tls_client_ca):
            raise ValueError(f"certificate_name of {named[0]} needs [dicom] or [query] tls_client_ca")
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
            f"{'.'.join(str(part) for part in item['loc']) or 'settings'}: {wrong_value(item)}"
            for item in error.errors()
        )
        raise SettingsError(f"{path or 'environment'}: {problems}") from error
    except UnreadableError as error:  # it quotes the name of the variable alone
        raise SettingsError(f"environment: {error}: it must be JSON") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
