"""From a study in the spool to an acknowledged message, through a real worker process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ich_triage.store.database import Database
from tests import boundaries
from tests.forks import Forks
from tests.heads import tiny_head
from tests.hooks import SECRET, HookServer
from tests.mllp import LOOPBACK, MllpListener
from tests.service import all_deliveries, complete, put, study, write_config

Wait = Callable[..., None]


class Site:
    """One database with its spool, a worker on it, and who is told of results."""

    def __init__(self, folder: Path, database: Database, listener: MllpListener, hooks: HookServer) -> None:
        secret = folder / "secret"
        secret.write_text(SECRET)
        his = {"kind": "mllp", "name": "his", "host": LOOPBACK, "port": listener.port, "send": "all"}
        desk = {"kind": "webhook", "name": "desk", "url": hooks.url, "secret_file": str(secret)}
        self.database, self.spool = database, folder / "spool"
        self.config = write_config(
            folder,
            database_url=database.url.render_as_string(hide_password=False),
            destinations=[his, desk],
        )

    def send(
        self, *, clot: bool, name: str = "Test^Head", uid: str | None = None, thickness: int | None = None
    ) -> str:
        """Put a series there and complete its study; a thin one is preferred to those before it."""
        datasets = tiny_head(clot=clot, name=name, study=uid)
        for ds in datasets:
            ds.SpecificCharacterSet = "ISO_IR 192"
            if thickness:
                ds.SliceThickness, ds.AcquisitionNumber = thickness, 2
        put(self.database, self.spool, datasets)
        complete(self.database, str(datasets[0].StudyInstanceUID))
        return str(datasets[0].StudyInstanceUID)

    def states(self, uid: str) -> dict[str, str]:
        """Destination → state of its newest delivery of the study."""
        return {each["destination"]: each["state"] for each in all_deliveries(self.database, uid)}


@pytest.fixture
def listener() -> MllpListener:
    """A listener that is not yet listening."""
    return MllpListener()


@pytest.fixture
def hooks() -> HookServer:
    """A receiver of webhooks that is not yet listening."""
    return HookServer()


def test_a_study_leads_to_an_acknowledged_message(
    tmp_path: Path,
    database: Database,
    forks: Forks,
    wait_until: Wait,
    listener: MllpListener,
    hooks: HookServer,
) -> None:
    """On either database: both studies in a message, the flagged one in a webhook too."""
    with listener.serve(), hooks.serve():
        site = Site(tmp_path, database, listener, hooks)
        forks.start("worker", tmp_path / "worker.log", config=str(site.config))
        flagged, other = site.send(clot=True, name="Müller^Änne"), site.send(clot=False)
        wait_until(lambda: site.states(flagged) == {"his": "sent", "desk": "sent"}, limit_s=60)
        wait_until(lambda: site.states(other) == {"his": "sent"}, limit_s=60)
    told = study(database, flagged)
    by_study = {each.extract_field("OBX", 1, 5): each for each in listener.messages()}
    assert by_study.keys() == {flagged, other}
    assert by_study[flagged].extract_field("PID", 1, 5) == "Müller"
    assert by_study[flagged].extract_field("OBX", 2, 5) == "FLAGGED"
    assert by_study[other].extract_field("OBX", 2, 5) == "NOT_FLAGGED"
    (body,) = hooks.bodies()
    assert body["data"]["study_instance_uid"] == flagged
    assert [each["subtype"] for each in body["data"]["findings"]] == ["intraparenchymal"]
    assert body["data"]["analysis"]["probabilities"] == told["analysis"]["probabilities"]
    assert told["ledger"]["sent"] is not None


def test_a_message_that_was_acknowledged_to_the_dead_is_the_same_again(
    tmp_path: Path,
    sqlite: Database,
    forks: Forks,
    wait_until: Wait,
    listener: MllpListener,
    hooks: HookServer,
) -> None:
    """kill -9 between the acknowledgement and our note of it: the next worker sends the same id and bytes."""
    plan = tmp_path / "plan"
    boundaries.write_plan(plan, ["after message"], [boundaries.KILL])
    with listener.serve(), hooks.serve():
        site = Site(tmp_path, sqlite, listener, hooks)
        dying = forks.start("worker", tmp_path / "worker.log", config=str(site.config), plan=str(plan))
        uid = site.send(clot=False)
        dying.until_gone()
        assert len(listener.heard) == 1 and site.states(uid) == {"his": "pending"}
        forks.start("worker", tmp_path / "worker.log", config=str(site.config))
        wait_until(lambda: site.states(uid) == {"his": "sent"}, limit_s=60)
    assert len(listener.heard) == 2 and len(set(listener.heard)) == 1


def test_who_was_told_of_a_flag_is_told_that_it_is_down(
    tmp_path: Path,
    sqlite: Database,
    forks: Forks,
    wait_until: Wait,
    listener: MllpListener,
    hooks: HookServer,
) -> None:
    """A better series without a clot: both get a correction, also the one that wants flagged studies only."""
    with listener.serve(), hooks.serve():
        site = Site(tmp_path, sqlite, listener, hooks)
        forks.start("worker", tmp_path / "worker.log", config=str(site.config))
        uid = site.send(clot=True)
        wait_until(lambda: len(listener.heard) == len(hooks.got) == 1, limit_s=60)
        site.send(clot=False, uid=uid, thickness=5)
        wait_until(lambda: len(listener.heard) == len(hooks.got) == 2, limit_s=60)
    messages = listener.messages()
    told = [[each.extract_field("OBR", 1, 25), each.extract_field("OBX", 2, 5)] for each in messages]
    assert told == [["P", "FLAGGED"], ["C", "NOT_FLAGGED"]]
    posted = [[body["data"]["correction"], body["data"]["state"]] for body in hooks.bodies()]
    assert posted == [[False, "flagged"], [True, "not_flagged"]]
