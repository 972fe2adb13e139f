"""Every process, database and object store on hosts of their own: studies come in parts, hosts fail."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]
from sqlalchemy import make_url

from ich_triage.domain.states import StudyState
from ich_triage.errors import UnknownStudyError
from ich_triage.store import tokens, workers
from ich_triage.store.database import Database
from tests import boundaries
from tests.forks import Fork, Forks
from tests.heads import tiny_head
from tests.hosts import Lan, NotPermittedError, lan, relay
from tests.object_store import ObjectStore
from tests.pacs import Pacs, counting_pacs
from tests.receiving import count_indexed
from tests.service import Json, destination, study, write_config

Wait = Callable[..., None]
PORT, WEB_PORT = 11112, 8080
#: as in `tests.service`, s
DEAD_AFTER_S = 2.0

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def network() -> Iterator[Lan]:
    """Two hosts that receive, two that analyse or show, one with database and store; scanner and PACS."""
    try:
        with lan("first", "second", "analysis", "spare", "data", "scanner") as made:
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
        self._ending = ExitStack()
        pacs = counting_pacs(host=network.address("scanner"))
        self.pacs: Pacs = network.on("scanner", lambda: self._ending.enter_context(pacs))

    def start(self, role: str, host: str, **options: str) -> Fork:
        """`ich-triage receiver`, `worker` or `web`, on that host, with a disk of its own."""
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
            web={
                "host": self.network.address(host),
                "port": WEB_PORT,
                "trusted_proxies": [self.network.address("scanner")],
            },
            destinations=[destination("pacs", self.pacs.peer)],
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

    def ask(self, host: str, path: str, token: str) -> httpx.Response:
        """What the pages of a host answer to a program at the scanner's."""
        url = f"http://{self.network.address(host)}:{WEB_PORT}{path}"
        headers = {"authorization": f"Bearer {token}"}
        return self.network.on("scanner", lambda: httpx.get(url, headers=headers, timeout=30))

    def workers(self) -> int:
        """How many live."""
        with self.database.read() as session:
            return len(workers.living(session, dead_after_s=DEAD_AFTER_S))

    def close(self) -> None:
        """The forks end by themselves."""
        self._ending.close()
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


def _check_pages(site: Site, uid: str) -> None:
    """A host that has neither received nor analysed a study shows it, slices included."""
    with site.database.write() as session:
        token = tokens.make(session, "test", days=1, now=datetime.now(UTC))
    pictures = f"/api/v1/studies/{uid}/pictures"
    told: Json = site.ask("spare", pictures, token).json()
    assert (told["slices"], told["analysed"]) == (14, True)
    picture = site.ask("spare", f"{pictures}/0?stack={told['stack']}", token)
    assert (picture.status_code, picture.headers["X-Rows"]) == (200, "64")


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
    site.start("web", "spare")
    for host in ("first", "second"):
        wait_until(lambda host=host: _listens(site, host), what=f"the receiver on {host}")
    one, other = _halves("1.2.1")
    assert site.send("first", one) + site.send("second", other) == [0x0000] * 14
    wait_until(lambda: site.is_flagged("1.2.1"), what="the result")
    assert [each["number"] for each in site.result("1.2.1")["revisions"]] == [1]
    _check_pages(site, "1.2.1")

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


@pytest.mark.parametrize("fate", ["cut off", pytest.param("killed", marks=pytest.mark.long)])
def test_what_a_lost_host_was_analysing_ends_on_another(
    site: Site, wait_until: Wait, tmp_path: Path, fate: str
) -> None:
    """One report, also where the first host goes on with it behind its broken cable and comes back."""
    hold = tmp_path / "hold"
    hold.touch()
    site.start("receiver", "first")
    doomed = site.start("worker", "analysis", hold=str(hold))
    wait_until(lambda: _listens(site, "first"), what="the receiver")
    images = tiny_head(study="1.2.1", clot=True)
    assert site.send("first", images) == [0x0000] * len(images)
    wait_until(lambda: _has_begun(site, "1.2.1"), limit_s=60, what="the analysis")
    if fate == "cut off":
        site.network.cut("analysis")
    else:
        doomed.kill()
    site.start("worker", "spare")
    wait_until(lambda: site.is_flagged("1.2.1"), limit_s=90, what="the result")
    wait_until(lambda: site.pacs.reports("SR"), limit_s=60, what="the report")
    hold.unlink()
    if fate == "cut off":
        site.network.mend("analysis")
        wait_until(lambda: site.workers() == 2, limit_s=60, what="the host to be back")
    again = tiny_head(study="1.2.2", clot=True)
    assert site.send("first", again) == [0x0000] * len(again)
    wait_until(lambda: len(site.pacs.reports("SR")) == 2, limit_s=60, what="the next report")
    assert {len(arrivals) for arrivals in site.pacs.arrivals.values()} == {1}
    assert [each["number"] for each in site.result("1.2.1")["revisions"]] == [1]


def _has_begun(site: Site, uid: str) -> bool:
    with suppress(UnknownStudyError):
        return site.result(uid)["ledger"].get("started") is not None
    return False
