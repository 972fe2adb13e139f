"""Records what this release leaves in a database, for later releases to be upgraded from.

    .venv/bin/pytest tests/migration/record.py

writes `rows/REVISION.json`, named after the schema that this release needs: run it before adding a migration.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ich_triage.domain.states import FINAL_STATES
from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.forks import Forks, fork_server, forks  # noqa: F401 - fixtures
from tests.heads import SLICES, tiny_head
from tests.migration.dump import dump, fill
from tests.migration.others import OTHERS
from tests.pacs import counting_pacs
from tests.service import complete, destination, put, study, write_config

ROWS = Path(__file__).with_name("rows")
Wait = Callable[..., None]


def test_record(tmp_path: Path, sqlite: Database, forks: Forks, wait_until: Wait) -> None:  # noqa: F811
    """Six studies on their way through a worker to a PACS, and rows of every other table."""
    spool = tmp_path / "spool"
    heads = [
        tiny_head(clot=True, name="Doe^Jane"),
        tiny_head(),
        tiny_head(last=3),
        tiny_head(last=SLICES - 1),
    ]
    uids = [str(head[0].StudyInstanceUID) for head in heads]
    late = tiny_head(study=uids[3], series=str(heads[3][0].SeriesInstanceUID), first=SLICES)
    with counting_pacs() as pacs:
        config = write_config(tmp_path, destinations=[destination("pacs", pacs.peer)])
        worker = forks.start("worker", tmp_path / "worker.log", config=str(config))
        for uid, datasets, revision in (*zip(uids, heads, (1, 1, 1, 1), strict=True), (uids[3], late, 2)):
            put(sqlite, spool, datasets)
            complete(sqlite, uid)
            wait_until(lambda uid=uid, n=revision: _settled(sqlite, uid, n), limit_s=60, what=uid)
        worker.end()
    for datasets in (tiny_head(last=4), tiny_head(last=5)):  # being received; waiting for a worker
        put(sqlite, spool, datasets)
        uids.append(str(datasets[0].StudyInstanceUID))
    complete(sqlite, uids[-1])
    with_rows = {table for table, rows in dump(sqlite).items() if rows}
    fill(sqlite, {table: rows for table, rows in OTHERS.items() if table not in with_rows})
    found = {"tables": dump(sqlite), "studies": {uid: study(sqlite, uid) for uid in uids}}
    assert all(found["tables"].values()), "a table without a row: add one to others.py"
    (ROWS / f"{migrate.head()}.json").write_text(json.dumps(found, ensure_ascii=False) + "\n")


def _settled(database: Database, uid: str, revision: int) -> bool:
    found = study(database, uid)["revisions"]
    return (
        len(found) >= revision
        and found[revision - 1]["state"] in FINAL_STATES
        and all(each["state"] != "pending" for each in found[revision - 1]["deliveries"])
    )
