"""Secrets come from the environment or from files, and get nowhere else, whatever goes wrong."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, SecretStr

from ich_triage.cli import app as cli
from ich_triage.cli import doctor_secrets
from ich_triage.errors import SettingsError
from ich_triage.settings import (
    DicomDestination,
    Log,
    MllpDestination,
    Settings,
    Subscriber,
    WebhookDestination,
    load,
)
from ich_triage.store.database import Database
from ich_triage.telemetry import logs
from tests.certificates import make_certificates
from tests.service import write_config

#: in every secret of these tests, and nowhere else
CANARY = "Kanarie17"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `ich-triage` in this process, `main` included; returns status and all that it printed."""

    def invoke(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ich-triage", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        told = capfd.readouterr()
        return status, told.out + told.err

    return invoke


def _secret(folder: Path, name: str, text: str = CANARY) -> str:
    path = folder / name
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def config(tmp_path: Path, dead_port: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site where every secret is set, and nobody whom it is for answers."""
    (tmp_path / "certificates").mkdir()
    certificate = str(make_certificates(tmp_path / "certificates").authority)
    key = _secret(tmp_path, "key.pem", f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----")
    hook = {"kind": "webhook", "url": f"https://127.0.0.1:{dead_port}/{CANARY}"}
    monkeypatch.setenv("ICH_TRIAGE_WEBHOOK_SECRET_SPOKEN", f"whsec_{CANARY}")
    monkeypatch.setenv("ICH_TRIAGE_OIDC__CLIENT_SECRET", CANARY)
    monkeypatch.setenv("ICH_TRIAGE_OIDC__ROLES", '{"a": "admin"}')
    return write_config(
        tmp_path,
        database_url=f"postgresql+psycopg://ich@127.0.0.1:{dead_port}/ich?connect_timeout=2",
        destinations=[
            {"name": "written", "secret_file": _secret(tmp_path, "hook"), **hook},
            {"name": "spoken", **hook},
            {
                "name": "his",
                "kind": "mllp",
                "host": "127.0.0.1",
                "port": dead_port,
                "tls": True,
                "certificate_file": certificate,
                "key_file": key,
            },
        ],
        dicom={"tls_certificate": certificate, "tls_key": key, "plain": False},
        oidc={"issuer": f"http://127.0.0.1:{dead_port}/x", "client_id": "ich"},
        database={
            "url": f"postgresql+psycopg://ich@127.0.0.1:{dead_port}/ich?connect_timeout=2",
            "password_file": _secret(tmp_path, "password", f"{CANARY}@:/%"),
        },
        delivery={"timeout_s": 0.5},
    )


@pytest.mark.risk("R-112")
def test_no_command_tells_a_secret(config: Path, run: Run) -> None:
    """`doctor`, lists and errors of a site where nothing works: what is wrong is told, and no secret."""
    told = []
    for command in (
        ("doctor", "--no-model"),
        ("doctor", "--no-model", "--json"),
        ("worklist", "--json"),
        ("study", "1.2.3", "--json"),
        ("db", "upgrade"),
        ("users", "list", "--json"),
        ("receiver",),
    ):
        status, text = run(*command, "--config", config)
        assert status == 1, (command, text)
        told.append(text)
    everything = "".join(told)
    for subject in ("database", "OpenID provider", "written", "spoken", "his", "DICOM port"):
        assert subject in everything
    assert "***" in everything  # the URL of the database is told, without the password
    assert CANARY not in everything


@pytest.mark.risk("R-112")
def test_the_tree_of_settings_shows_no_secret(config: Path) -> None:
    """Neither printed nor in a traceback; and the password reaches the driver as the file has it."""
    loaded = load(config)
    assert CANARY not in f"{loaded!r}{loaded}{loaded.database!r}{loaded.oidc!r}{vars(loaded.oidc)}"
    assert Database(loaded.database.url).url.password == f"{CANARY}@:/%"
    assert loaded.oidc.secret() == CANARY


@pytest.mark.risk("R-112")
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("DATABASE__URL", f"postgresql+psycopg://ich:a@b:{CANARY}@host/ich", "password_file"),
        ("DATABASE__URL", f"postgresql+psycopg://ich@host/ich?password={CANARY}", "password_file"),
        ("DATABASE__URL", f"mysql://ich:{CANARY}@host/ich", "starts with neither"),
        ("OIDC__CLIENT_SECRET", f'["{CANARY}"', ""),
        ("OIDC", f'{{"client_secret": ["{CANARY}"]}}', "client_secret"),
        ("OIDC", f'{{"client_secret": "{CANARY}"', "environment"),
        ("DESTINATIONS", f'[{{"kind": "webhook", "name": "x", "url": "https://me:{CANARY}@h/"}}]', "url"),
    ],
)
@pytest.mark.risk("R-112")
def test_a_wrong_value_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, said: str
) -> None:
    """A secret in the wrong place or form is refused by its key's name, through every cause of the error."""
    monkeypatch.setenv(f"ICH_TRIAGE_{key}", value)
    try:
        text = repr(load())
    except SettingsError as error:
        text = "".join(traceback.format_exception(error))
        assert said in str(error)
    assert CANARY not in text


@pytest.mark.risk("R-112")
def test_no_log_line_has_a_secret(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A connection that fails is logged with its traceback, as each process does."""
    try:
        logs.configure(Log(), process="test")
        with Database(load(config).database.url).read() as session:
            session.connection()
    except Exception:  # noqa: BLE001 - whatever the driver raises is logged
        structlog.get_logger("ich_triage.test").exception("went_wrong")
    told = capfd.readouterr().err
    assert json.loads(told.splitlines()[-1])["event"] == "went_wrong"
    assert CANARY not in told


@pytest.mark.parametrize("content", [None, "", "\n"], ids=["no file", "empty", "a blank line"])
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: str | None) -> None:
    """Not found later, by a refused connection."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
    url = "postgresql+psycopg://ich@host/ich"
    config = write_config(tmp_path, database={"url": url, "password_file": str(path)})
    with pytest.raises(SettingsError, match=str(path)):
        load(config)
    config = write_config(tmp_path, oidc={"client_secret_file": str(path)})
    with pytest.raises(SettingsError, match=str(path)):
        load(config).oidc.secret()


@pytest.mark.parametrize(
    "url", ["sqlite:///x.sqlite", "postgresql+psycopg://host/ich", "postgresql+psycopg://a:b@host/x"]
)
def test_a_password_is_for_a_user_without_one(tmp_path: Path, url: str) -> None:
    """Two passwords, or one for nobody, are refused: only one could be meant."""
    path = _secret(tmp_path, "password")
    with pytest.raises(SettingsError, match="USER@HOST"):
        load(write_config(tmp_path, database={"url": url, "password_file": path}))


def test_doctor_says_who_else_can_read_a_secret(config: Path) -> None:
    """A file that everybody on the machine can read is a finding; the configuration too, with one in it."""
    loaded = load(config)

    def found() -> list[str]:
        return [
            each.seen for each in doctor_secrets.look_at_secrets(loaded, config) if each.level == "warning"
        ]

    assert found() == []
    for name in ("password", "hook", "key.pem"):
        (config.parent / name).chmod(0o644)
        assert any(name in seen for seen in found())
        (config.parent / name).chmod(0o600)
    config.write_text('[oidc]\nclient_secret = "x"\n', encoding="utf-8")
    config.chmod(0o644)
    assert any(str(config) in seen for seen in found())
    config.chmod(0o600)
    assert found() == []


def _keys(section: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        found[name] = field.annotation
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _keys(field.annotation)
    return found


def test_every_setting_that_sounds_secret_is_handled() -> None:
    """Who adds one makes it a SecretStr or a file that `doctor` looks at."""
    sections = (Settings, DicomDestination, MllpDestination, WebhookDestination, Subscriber)
    named = {key: kind for section in sections for key, kind in _keys(section).items()}
    secret = {key for key in named if any(word in key for word in ("secret", "password", "key", "token"))}
    assert secret == doctor_secrets.FILES | {"client_secret", "passwords"}
    assert named["client_secret"] is SecretStr
    assert named["passwords"] is bool
