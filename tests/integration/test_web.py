"""The web process over a real connection: how it starts, who gets in, and what it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from typer.testing import CliRunner

from ich_triage.cli import app as cli
from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.service import write_config
from tests.web import PASSWORD

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
