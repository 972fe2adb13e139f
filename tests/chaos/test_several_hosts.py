"""Receivers, worker, database and object store on hosts of their own: studies come in parts, hosts fail."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]
from sqlalchemy import make_url

from ich_triage.domain.states import StudyState
from ich_triage.errors import UnknownStudyError
from ich_triage.store.database import Database
from tests import boundaries
from tests.forks import Fork, Forks
from tests.heads import tiny_head
from tests.hosts import Lan, NotPermittedError, lan, relay
from tests.object_store import ObjectStore
from tests.receiving import count_indexed
from tests.service import Json, study, write_config

Wait = Callable[..., None]
PORT = 11112

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def network() -> Iterator[Lan]:
    """Two hosts that receive, one that analyses, one with database and store, and a scanner."""
    try:
        with lan("first", "second", "analysis", "data", "scanner") as made:
            yield made
    except (NotPermittedError, FileNotFoundError) as why:
        pytest.skip(f"no network namespaces here ({why}): run as root, with iproute2")


class Site:
    """The service on these hosts."""

    def __init__(self, network: Lan, folder: Path, database: Database, forks: Forks) -> None:
        self.network, self.database, self._forks, self._folder = network, database, forks, folder
        url = make_url(database.url)
        self._door = network.on("data", lambda: socket.create_server((network.address("data"), 5432)))
        relay(self._door, f"{url.query['host']}/.s.PGSQL.5432")
        within = ("ip", "netns", "exec", network.at("data"))
        self.store = ObjectStore(folder, host=network.address("data"), within=within)
        self._url = url.set(host=network.address("data"), port=5432, query={})

    def start(self, role: str, host: str, **options: str) -> Fork:
        """`ich-triage receiver` or `worker`, on that host, with a disk of its own."""
        folder = self._folder / host
        folder.mkdir()
        spool = {key: str(value) for key, value in self.store.settings(folder).items()} | {"reserve_bytes": 0}
        config = write_config(
            folder,
            database_url=self._url.render_as_string(hide_password=False) + "?connect_timeout=2",
            port=PORT,
            dicom={"host": self.network.address(host)},
            spool=spool,
            assembly={"quiet_s": 10.0},
        )
        log = folder / "log"
        log.touch()
        where = {"config": str(config), "host": self.network.at(host)}
        return self._forks.start(role, log, **where, **options)

    def send(self, host: str, images: Sequence[Dataset]) -> list[int]:
        """From the scanner to one receiver; statuses, fewer where its host does not answer any more."""
        return self.network.on("scanner", lambda: self._send(host, images))

    def _send(self, host: str, images: Sequence[Dataset]) -> list[int]:
        ae = AE(ae_title="SCANNER")
        ae.add_requested_context(CTImageStorage)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 3
        association = ae.associate(self.network.address(host), PORT, ae_title="ICH_TRIAGE")
        told: list[int] = []
        for each in images:
            if (
                association.is_established
                and (status := association.send_c_store(each).get("Status")) is not None
            ):
                told.append(status)
        if association.is_established:
            association.release()
        return told

    def result(self, uid: str) -> Json:
        """What is known of a study."""
        return study(self.database, uid)

    def is_flagged(self, uid: str) -> bool:
        """Whether it has come to that."""
        with suppress(UnknownStudyError):
            return bool(self.result(uid)["state"] == StudyState.FLAGGED)
        return False

    def close(self) -> None:
        """The forks end by themselves."""
        self._door.close()
        self.store.stop()


@pytest.fixture
def site(network: Lan, tmp_path: Path, database: Database, forks: Forks) -> Iterator[Site]:
    """Everything runs."""
    made = Site(network, tmp_path, database, forks)
    try:
        yield made
    finally:
        made.close()


def _halves(uid: str) -> tuple[list[Dataset], list[Dataset]]:
    images = tiny_head(study=uid, clot=True)
    return images[:7], images[7:]


def _listens(site: Site, host: str) -> bool:
    def look() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((site.network.address(host), PORT)) == 0

    return site.network.on("scanner", look)


def test_a_study_that_lands_on_two_hosts_is_one_and_outlives_either(site: Site, wait_until: Wait) -> None:
    """Half to each host is one revision; with one host cut off in mid-study the other one finishes it."""
    site.start("receiver", "first")
    site.start("receiver", "second")
    site.start("worker", "analysis")
    for host in ("first", "second"):
        wait_until(lambda host=host: _listens(site, host), what=f"the receiver on {host}")
    one, other = _halves("1.2.1")
    assert site.send("first", one) + site.send("second", other) == [0x0000] * 14
    wait_until(lambda: site.is_flagged("1.2.1"), what="the result")
    assert [each["number"] for each in site.result("1.2.1")["revisions"]] == [1]

    one, other = _halves("1.2.2")
    assert site.send("first", one) == [0x0000] * 7
    wait_until(lambda: count_indexed(site.database) == 21, what="the index")
    site.network.cut("first")
    assert site.send("first", other) == []
    assert site.send("second", other) == [0x0000] * 7
    wait_until(lambda: site.is_flagged("1.2.2"), what="the result")
    found = site.result("1.2.2")
    assert (found["instances"], [each["number"] for each in found["revisions"]]) == (14, [1])
    site.network.mend("first")
    wait_until(lambda: site.send("first", other[:1]) == [0x0000], what="the host to be back")
    wait_until(lambda: not [key for key in site.store.objects() if "inbox" in key], what="the repeat to go")
    assert site.result("1.2.2")["instances"] == 14


@pytest.mark.long
@pytest.mark.parametrize("fate", ["killed", "cut off"])
def test_what_a_lost_host_had_acknowledged_is_found_by_another(
    site: Site, wait_until: Wait, tmp_path: Path, fate: str
) -> None:
    """In the inbox of the store and nowhere in the index: another receiver takes it up, in one revision."""
    plan = tmp_path / "plan"
    boundaries.write_plan(plan, ["before index"], [boundaries.KILL])
    doomed = site.start("receiver", "first", **({"plan": str(plan)} if fate == "killed" else {}))
    site.start("receiver", "second")
    site.start("worker", "analysis")
    for host in ("first", "second"):
        wait_until(lambda host=host: _listens(site, host), what=f"the receiver on {host}")
    one, other = _halves("1.2.1")
    acknowledged = site.send("first", one)
    if fate == "cut off":
        site.network.cut("first")
    else:
        doomed.until_gone()
    rest = [*one[len(acknowledged) :], *other]
    assert site.send("second", rest) == [0x0000] * len(rest)
    wait_until(lambda: site.is_flagged("1.2.1"), limit_s=90, what="the result")
    assert site.result("1.2.1")["instances"] == 14
    if fate == "cut off":
        site.network.mend("first")
