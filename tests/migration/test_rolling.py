"""The release before on the schema of the one after it: what a rolling upgrade rests on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.migration.dump import dump, fill, schema
from tests.migration.recorded import REPOSITORY, recorded, revisions

KNOWN = revisions()
#: the first schema from which on that is promised
ROLLING_SINCE = "0008"
#: tests of the release before that are about what its processes read and write
STORE_TESTS = ("results", "deliveries")


def _documented() -> dict[str, str]:
    """Schema → whether the release before it may go on meanwhile, as docs/howto/upgrade.md says."""
    text = (REPOSITORY / "docs/howto/upgrade.md").read_text()
    return dict(re.findall(r"^\| (\d{4}) \| (yes|no) \|", text, re.MULTILINE))


@pytest.mark.parametrize(("before", "after"), list(pairwise(KNOWN)))
def test_the_page_says_which_releases_may_go_on(
    database_url: str, tmp_path: Path, before: str, after: str
) -> None:
    """With the columns that it knows, the release before adds, reads, changes and deletes every kind of row
    on the newer schema, or the page says that it cannot.
    """
    older = Database(f"sqlite:///{tmp_path / 'before.sqlite'}")
    migrate.upgrade(older, before)
    its_own = schema(older)
    older.close()
    newer = Database(database_url)
    migrate.upgrade(newer, after)
    try:
        fill(newer, recorded(before)["tables"], its_own)
        said = "yes"
    except IntegrityError:
        said = "no"
    assert _documented().get(after) == said, f"docs/howto/upgrade.md says otherwise of {after}"
    if said == "yes":
        rows = dump(newer, its_own)
        assert all(rows.values())
        _write_again(newer, its_own)
    newer.close()


def _write_again(database: Database, tables: sa.MetaData) -> None:
    """Every row with the values that it has, then none."""
    with database.engine.execution_options(write=True).begin() as connection:
        for table in tables.sorted_tables:
            connection.execute(sa.update(table).values({column: column for column in table.columns}))
        for table in reversed(tables.sorted_tables):
            connection.execute(sa.delete(table))


def test_every_step_is_on_the_page() -> None:
    """docs/howto/upgrade.md has a line for each schema but the first; newer ones take the release before."""
    assert list(_documented()) == KNOWN[1:]
    assert {said for schema, said in _documented().items() if schema >= ROLLING_SINCE} == {"yes"}


def _git(*arguments: str) -> str:
    told = subprocess.run(("git", *arguments), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return told.stdout.strip() if told.returncode == 0 else ""


@pytest.fixture
def release_before(tmp_path: Path) -> Path:
    """The code from before the newest migration, with this release's migrations; skips without history."""
    newest = f"alembic/versions/{KNOWN[-1]}.py"
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", newest)
    if not added or not _git("rev-parse", "--verify", f"{added}^"):
        pytest.skip("the history of the release before is not here")
    archive = tmp_path / "before.tar"
    _git("archive", "--output", str(archive), f"{added}^")
    folder = tmp_path / "before"
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    assert not (folder / newest).exists()
    versions = Path("alembic/versions")
    shutil.copytree(REPOSITORY / versions, folder / versions, dirs_exist_ok=True)
    return folder


@pytest.mark.skipif(_documented().get(KNOWN[-1]) != "yes", reason="the page says that it cannot")
def test_the_release_before_keeps_its_promises_on_this_schema(release_before: Path) -> None:
    """Its own tests of results and deliveries pass with its own code on the newer schema."""
    # what the collector finds while that pytest ends says nothing about the schema
    plugins = ("-p", "pytest_timeout", "-p", "no:cacheprovider", "-p", "no:unraisableexception")
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "-k", "not postgresql"]
        + [f"tests/unit/store/test_{name}.py" for name in STORE_TESTS],
        cwd=release_before,
        # loading the plugins takes longer than the tests
        env=os.environ | {"PYTHONPATH": str(release_before), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.search(r"\d\d passed", told.stdout), told.stdout
