"""Every process, database and object store on hosts of their own: studies come in parts, hosts fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ich_triage.store import tokens
from ich_triage.store.database import Database
from tests import boundaries
from tests.forks import Forks
from tests.heads import tiny_head
from tests.hosts import Lan, NotPermittedError, lan
from tests.receiving import count_indexed
from tests.service import Json
from tests.several_hosts import HOSTS, Site, halves

Wait = Callable[..., None]

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def network() -> Iterator[Lan]:
    """A switch with the hosts."""
    try:
        with lan(*HOSTS) as made:
            yield made
    except (NotPermittedError, FileNotFoundError) as why:
        pytest.skip(f"no network namespaces here ({why}): run as root, with iproute2")


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


def test_a_study_that_lands_on_two_hosts_is_one_and_outlives_either(site: Site, wait_until: Wait) -> None:
    """Half to each host is one revision; with one host cut off in mid-study the other one finishes it."""
    site.start("receiver", "first")
    site.start("receiver", "second")
    site.start("worker", "analysis")
    site.start("web", "spare")
    for host in ("first", "second"):
        wait_until(lambda host=host: site.listens(host), what=f"the receiver on {host}")
    one, other = halves("1.2.1")
    assert site.send("first", one) + site.send("second", other) == [0x0000] * 14
    wait_until(lambda: site.is_flagged("1.2.1"), what="the result")
    assert [each["number"] for each in site.result("1.2.1")["revisions"]] == [1]
    _check_pages(site, "1.2.1")

    one, other = halves("1.2.2")
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
        wait_until(lambda host=host: site.listens(host), what=f"the receiver on {host}")
    one, other = halves("1.2.1")
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
    wait_until(lambda: site.listens("first"), what="the receiver")
    images = tiny_head(study="1.2.1", clot=True)
    assert site.send("first", images) == [0x0000] * len(images)
    wait_until(lambda: site.has_begun("1.2.1"), limit_s=60, what="the analysis")
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
