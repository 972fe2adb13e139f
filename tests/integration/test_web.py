"""The web process over a real connection: how it starts, who gets in, and what it prints."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter

import httpx
import psutil
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from ich_triage.cli import app as cli
from ich_triage.domain.roles import Role
from ich_triage.settings import Settings, Web
from ich_triage.store import migrate
from ich_triage.store.account_tables import Audit
from ich_triage.store.database import Database
from ich_triage.worklist.app import create
from ich_triage.worklist.server import WebServer
from tests.service import write_config
from tests.web import PASSWORD, add_account

Wait = Callable[..., None]


@contextmanager
def _running(config: Path, told: Path, wait_until: Wait) -> Iterator[str]:
    """`ich-triage web`; yields its address. What it prints goes to the file `told`."""
    command = [sys.executable, "-m", "ich_triage", "--config", str(config), "web"]
    with told.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            wait_until(lambda: "web_listening" in told.read_text(), limit_s=60, what="the web process")
            found = re.search(r"http://127\.0\.0\.1:\d+", told.read_text())
            assert found
            yield found[0]
        finally:
            process.terminate()
            process.wait(30)


def test_from_the_link_on_the_console_to_a_session(tmp_path: Path, wait_until: Wait) -> None:
    """The start prints the first admin's link, once an admin is there no more, and the log never has it."""
    config = write_config(tmp_path, web={"host": "127.0.0.1", "port": 0})
    database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")
    migrate.upgrade(database)
    database.close()
    told = tmp_path / "told"
    with _running(config, told, wait_until) as url:
        wait_until(lambda: "/first-admin?secret=" in told.read_text(), what="the link")
        link = re.search(rf"  ({url}/first-admin\?secret=([\w-]+))\n", told.read_text())
        assert link
        with httpx.Client(base_url=url) as client:
            assert client.get("/account").headers["location"] == "/login?next=%2Faccount"
            assert client.get(link[1]).status_code == 200
            form = {"secret": link[2], "name": "chief", "password": PASSWORD, "repeat": PASSWORD}
            assert client.post("/first-admin", data=form).status_code == 303
            assert client.get("/users").status_code == 200
            assert client.get("/users", headers={"cookie": "ich_session=forged"}).status_code == 303
    logged = [line for line in told.read_text().splitlines() if line.startswith("{")]
    assert any('"event": "login_succeeded"' in line for line in logged)
    assert not any(link[2] in line or PASSWORD in line for line in logged)
    with _running(config, told, wait_until):
        pass
    assert "first-admin" not in told.read_text()
    listed = CliRunner().invoke(cli.app, ["--config", str(config), "users", "list"])
    assert "chief" in listed.stdout


@contextmanager
def _serving(database: Database, web: Web) -> Iterator[WebServer]:
    """The server in this process."""
    server = WebServer(web, create(Settings(web=web), database))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine alone, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(built.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


def _recorded(database: Database) -> str:
    """Address of the latest log-in."""
    with database.read() as session:
        return session.scalars(sa.select(Audit.address).order_by(Audit.id.desc())).first() or ""


def test_a_stop_ends_open_pages_without_a_complaint(
    sqlite: Database, tmp_path: Path, wait_until: Wait
) -> None:
    """Their event streams come to an end, at once, and the log has no error."""
    config = write_config(tmp_path, web={"host": "127.0.0.1", "port": 0})
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    told = tmp_path / "told"
    with _running(config, told, wait_until) as url, httpx.Client(base_url=url, timeout=60) as client:
        client.post("/login", data={"name": "reader", "password": PASSWORD})
        with client.stream("GET", "/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: changed"
            (process,) = (each for each in psutil.Process().children() if "web" in each.cmdline())
            process.terminate()
            assert [line for line in lines if line.startswith("event")] == []
    assert not [line for line in told.read_text().splitlines() if "Traceback" in line or "error" in line]


def test_the_body_of_an_answer_does_not_wait_for_an_acknowledgement(sqlite: Database) -> None:
    """Headers and body go out one after the other; Nagle's rule would hold the second until a peer that
    delays its acknowledgements (40 ms here, 200 ms elsewhere) has sent one."""
    seconds = []
    with _serving(sqlite, Web(port=0)) as server, httpx.Client(base_url=server.url) as client:
        for _ in range(60):  # a new connection is acknowledged at once for a while
            started = perf_counter()
            assert client.get("/login").status_code == 200
            seconds.append(perf_counter() - started)
    assert min(seconds[30:]) < 0.03


@pytest.mark.risk("R-102")
def test_over_tls_the_session_is_bound_to_the_host(sqlite: Database, tmp_path: Path) -> None:
    """With certificate and key, pages are HTTPS and the cookie never leaves it."""
    certificate, key = _certificate(tmp_path)
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    web = Web(port=0, tls_certificate=certificate, tls_key=key)
    with _serving(sqlite, web) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        trust = ssl.create_default_context(cafile=certificate)
        with httpx.Client(base_url=server.url, verify=trust, headers={"origin": server.url}) as client:
            answer = client.post("/login", data={"name": "reader", "password": PASSWORD})
            assert answer.headers["set-cookie"].startswith("__Host-ich_session=")
            assert "Secure" in answer.headers["set-cookie"]
            assert client.get("/account").status_code == 200


@pytest.mark.parametrize(("proxies", "address"), [((), "127.0.0.1"), (("127.0.0.1",), "192.0.2.9")])
@pytest.mark.risk("R-125")
def test_only_a_trusted_proxy_says_where_a_request_comes_from(
    sqlite: Database, proxies: tuple[str, ...], address: str
) -> None:
    """Nobody writes another address into the audit trail, or escapes the count of failures, by a header."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    with (
        _serving(sqlite, Web(port=0, trusted_proxies=proxies)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        headers = {"x-forwarded-for": "192.0.2.9", "x-forwarded-proto": "https"}
        form = {"name": "reader", "password": PASSWORD}
        answer = client.post("/login", data=form, headers=headers)
    assert ("Secure" in answer.headers["set-cookie"]) == bool(proxies)
    assert _recorded(sqlite) == address
