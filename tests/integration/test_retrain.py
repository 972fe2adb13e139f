"""`ich-triage retrain` as it is typed: from the radiologists' feedback to a package in force."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from ich_triage.cli import app as cli
from ich_triage.model.package import Package
from ich_triage.pipeline.models import Models
from ich_triage.settings import load
from ich_triage.store import feedback
from ich_triage.store.database import Database
from ich_triage.store.feedback import Opinion
from ich_triage.store.tables import Revision
from tests.feedback import add_study
from tests.packages import make_package

STUDIES = 24
_SHORT = "stages=[{epochs=1, studies=4, window=8, crop=1.0, learning_rate=1e-3}]"


@pytest.fixture
def site(sqlite: Database, tmp_path: Path) -> Path:
    """The configuration of a service with studies, half of them with a bleed, all agreed with."""
    for number in range(STUDIES):
        add_study(sqlite, tmp_path / "spool", f"1.2.{number}", clot=number % 2 == 0)
    with sqlite.write() as session:
        for revision in session.scalars(select(Revision)):
            feedback.give(session, revision, Opinion(reader="ann", agrees=True), datetime.now(UTC))
    database, spool, registry = (
        json.dumps(str(each)) for each in (sqlite.url, tmp_path / "spool", tmp_path / "models")
    )
    config = tmp_path / "site.toml"
    config.write_text(
        f"[database]\nurl = {database}\n[spool]\npath = {spool}\n[model]\nregistry = {registry}\n"
    )
    models = Models(load(config).model, sqlite)
    published = models.registry.publish(make_package(tmp_path / "small", metrics={}))
    models.promote(published, (), after=models.promoted().number, forced="where this test begins")
    return config


def _run(config: Path, work: Path, *arguments: str) -> Result:
    command = ["retrain", "--config", str(config), "--work", str(work), "--set", _SHORT, "--workers", "0"]
    return CliRunner().invoke(cli.app, [*command, *arguments])


@pytest.mark.timeout(300)
def test_feedback_becomes_a_package_that_the_gate_can_judge(
    sqlite: Database, site: Path, tmp_path: Path
) -> None:
    """Trained from the package in force, tested on patients never trained on, published, judged."""
    work = tmp_path / "work"
    done = _run(site, work)
    assert done.exit_code == 0, done.output
    models = Models(load(site).model, sqlite)
    before = models.promoted().package
    (name,) = [each for each in models.registry.names() if each.startswith("site-")]
    package = models.registry.get(name).load()
    assert f"models promote {name}" in done.output and before.name != name
    manifest = package.manifest
    assert manifest.synthetic  # what it goes on from is
    assert manifest.data["test_studies"] == 5 and manifest.data["calibration_studies"] == 2
    assert manifest.rival and manifest.rival.key == Package.load(before.path).identity.key
    assert len(package.trained_on) == STUDIES - 7
    again = _run(site, work, "--promote")  # trains and publishes nothing anew
    assert again.exit_code == 1 and "on the same 5 studies; with fewer than 50 no harm" in again.output
    assert [each for each in models.registry.names() if each.startswith("site-")] == [name]
    assert models.promoted().package.name == before.name


def test_without_feedback_it_says_so_and_publishes_nothing(sqlite: Database, tmp_path: Path) -> None:
    """One line of training's own, one of the command; the registry stays as it was."""
    config = tmp_path / "site.toml"
    database, registry = json.dumps(str(sqlite.url)), json.dumps(str(tmp_path / "models"))
    config.write_text(f"[database]\nurl = {database}\n[model]\nregistry = {registry}\n")
    done = _run(config, tmp_path / "work")
    assert done.exit_code == 1
    assert "what is done stays" in str(done.exception)
    assert not list(tmp_path.glob("models/packages/*"))
