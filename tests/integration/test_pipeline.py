"""The pipeline in real worker processes that are killed, starved and lied to, on both databases."""

from __future__ import annotations

import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from ich_triage.domain.states import FINAL_STATES, CompletedBy
from ich_triage.pipeline.queue import system_database_url
from ich_triage.store import migrate
from ich_triage.store.database import Database
from tests.forks import Fork, Forks
from tests.heads import SLICES, tiny_head
from tests.pacs import Pacs, counting_pacs
from tests.service import Json, all_deliveries, complete, destination, put, study, write_config

Wait = Callable[..., None]
STAGES = ("select", "analyse", "render", "store")
#: HU of the first voxel of a study that kills whoever analyses it
POISON_HU = -777


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """Where reports go."""
    with counting_pacs() as running:
        yield running


class Site:
    """One database with its spool, and workers on it."""

    def __init__(self, folder: Path, database: Database, forks: Forks, pacs: Pacs, wait_until: Wait) -> None:
        self.folder = folder
        self.database = database
        self.spool = folder / "spool"
        self.pacs = pacs
        self._forks = forks
        self._wait = wait_until
        self.hold = folder / "hold"
        self.record = folder / "stages"
        self.configure()

    def configure(self, *, send: str = "all", **worker: object) -> None:
        """Write the configuration."""
        url = self.database.url.render_as_string(hide_password=False)
        base = {"poll_s": 0.05, "heartbeat_s": 0.3, "dead_after_s": 2.0}
        self.config = write_config(
            self.folder,
            database_url=url,
            destinations=[destination("pacs", self.pacs.peer, send=send)],
            worker=base | worker,
        )

    def worker(self, **options: object) -> Fork:
        """Start a worker."""
        return self._forks.start(
            "worker",
            self.folder / "worker.log",
            config=str(self.config),
            hold=str(self.hold),
            record=str(self.record),
            **options,
        )

    def send(self, datasets: list[Dataset], *, stat: bool = False) -> str:
        """Put a study there and complete it."""
        uid = str(datasets[0].StudyInstanceUID)
        put(self.database, self.spool, datasets, stat=stat)
        complete(self.database, uid)
        return uid

    def study(self, uid: str) -> Json:
        """What is known of it."""
        return study(self.database, uid)

    def until_final(self, *uids: str, revision: int = 1) -> list[Json]:
        """Wait until that revision of each study is final and what is to be sent has been."""

        def settled(uid: str) -> bool:
            told = self.study(uid)
            return (
                len(told["revisions"]) >= revision
                and told["revisions"][revision - 1]["state"] in FINAL_STATES
                and all(each["state"] != "pending" for each in all_deliveries(self.database, uid))
            )

        for uid in uids:
            self._wait(lambda uid=uid: settled(uid), limit_s=60, what=f"{uid}; see {self.folder}/worker.log")
        return [self.study(uid) for uid in uids]

    def stages_run(self) -> Counter[str]:
        """How often each stage was begun."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return Counter(line.split()[0] for line in lines)

    def until_stage(self, name: str, times: int = 1) -> None:
        """Wait until a stage was begun so often."""
        self._wait(lambda: self.stages_run()[name] >= times, limit_s=60, what=f"stage {name}")


@pytest.fixture
def both(tmp_path: Path, database: Database, forks: Forks, pacs: Pacs, wait_until: Wait) -> Site:
    """A site on SQLite, then one on PostgreSQL."""
    return Site(tmp_path, database, forks, pacs, wait_until)


@pytest.fixture
def site(tmp_path: Path, sqlite: Database, forks: Forks, pacs: Pacs, wait_until: Wait) -> Site:
    """A site on SQLite."""
    return Site(tmp_path, sqlite, forks, pacs, wait_until)


def test_a_study_goes_from_the_spool_to_the_pacs(both: Site) -> None:
    """Each stage runs once; the result, its ledger and its report agree, on either database."""
    both.worker()
    flagged, other = both.until_final(both.send(tiny_head(clot=True)), both.send(tiny_head()))
    assert (flagged["state"], other["state"]) == ("flagged", "not_flagged")
    assert flagged["analysis"]["findings"][0]["subtype"] == "intraparenchymal"
    assert both.stages_run() == dict.fromkeys(STAGES, 2)
    assert len(both.pacs.reports("SR")) == 2
    ledger = flagged["ledger"]
    moments = [ledger[key] for key in ("last_slice", "complete", "started", "inferred", "stored", "sent")]
    assert moments == sorted(moments)


@pytest.mark.risk("R-009")
def test_stat_studies_are_taken_first(site: Site) -> None:
    """With one study in work at once, an urgent one overtakes all that waited before it."""
    site.configure(concurrency=1)
    site.hold.touch()
    site.worker()
    first = site.send(tiny_head())
    site.until_stage("analyse")
    routine = [site.send(tiny_head()) for _ in range(3)]
    urgent = site.send(tiny_head(), stat=True)
    site.hold.unlink()
    site.until_final(first, *routine, urgent)
    started = {uid: site.study(uid)["ledger"]["started"] for uid in (first, *routine, urgent)}
    assert sorted(started, key=started.__getitem__)[:2] == [first, urgent]


@pytest.mark.risk("R-009")
def test_a_dead_workers_study_is_taken_over_without_repeating_what_it_finished(both: Site) -> None:
    """kill -9 in the middle of the analysis: another worker ends the study; `select` is not run again."""
    both.hold.touch()
    dying = both.worker()
    uid = both.send(tiny_head(clot=True))
    both.until_stage("analyse")
    dying.kill()
    both.hold.unlink()
    both.worker()
    (told,) = both.until_final(uid)
    assert told["state"] == "flagged"
    assert told["revisions"][0]["attempts"] == 2
    assert both.stages_run() == {"select": 1, "analyse": 2, "render": 1, "store": 1}
    assert [len(arrived) for arrived in both.pacs.arrivals.values()] == [1, 1]


def test_a_worker_that_was_only_asleep_spoils_nothing(both: Site) -> None:
    """Taken for dead in its sleep, a worker wakes up behind its successor: one result, one report."""
    both.hold.touch()
    asleep = both.worker()
    uid = both.send(tiny_head(clot=True))
    both.until_stage("analyse")
    asleep_from = both.study(uid)["ledger"]["started"]
    _put_to_sleep(asleep, both)
    both.worker()
    both.until_stage("analyse", 2)
    both.hold.unlink()
    (told,) = both.until_final(uid)
    asleep.send(signal.SIGCONT)
    both.send(tiny_head())
    other = both.send(tiny_head())
    both.until_final(other)
    again = both.study(uid)
    assert told["state"] == again["state"] == "flagged"
    assert again["ledger"]["stored"] == told["ledger"]["stored"]
    assert again["ledger"]["started"] == asleep_from
    assert len({each["sop_instance_uid"] for each in all_deliveries(both.database, uid)}) == 2
    assert all(len(set(arrived)) == 1 for arrived in both.pacs.arrivals.values())


def test_a_worker_told_to_stop_leaves_its_long_study_to_the_next(site: Site) -> None:
    """SIGTERM in the middle of a study that takes too long: the worker leaves, and the study is not stuck."""
    site.hold.touch()
    stopping = site.worker()
    uid = site.send(tiny_head())
    site.until_stage("analyse")
    stopping.end(signal.SIGTERM)
    site.hold.unlink()
    site.worker()
    (told,) = site.until_final(uid)
    assert told["state"] == "not_flagged"


@pytest.mark.risk("R-009")
def test_a_worker_that_hangs_in_a_study_leaves_it(site: Site) -> None:
    """It ends itself, says where it hung, and the next one analyses the study."""
    site.configure(study_limit_s=4.0)
    site.hold.touch()
    hanging = site.worker()
    uid = site.send(tiny_head())
    site.until_stage("analyse")
    hanging.until_gone()
    log = (site.folder / "worker.log").read_text()
    assert "revision_hangs" in log and "in analyse" in log
    site.hold.unlink()
    site.configure()
    site.worker()
    (told,) = site.until_final(uid)
    assert told["state"] == "not_flagged"


def test_a_lost_queue_is_filled_again(site: Site) -> None:
    """The queue's own file deleted: what was in it is handed over again and ends as it should."""
    site.hold.touch()
    dying = site.worker()
    uid = site.send(tiny_head(clot=True))
    site.until_stage("analyse")
    dying.kill()
    kept = Path(system_database_url(str(site.database.url)).removeprefix("sqlite:///"))
    for file in kept.parent.glob(f"{kept.name}*"):
        file.unlink()
    site.hold.unlink()
    site.worker()
    (told,) = site.until_final(uid)
    assert told["state"] == "flagged"
    assert len(site.pacs.reports("SR")) == 1


@pytest.mark.risk("R-024")
def test_what_an_earlier_release_has_left_in_the_queue_is_begun_anew(site: Site) -> None:
    """Its steps were others, so that nobody goes on behind them; but the study must not wait for ever."""
    site.hold.touch()
    dying = site.worker()
    uid = site.send(tiny_head(clot=True))
    site.until_stage("analyse")
    dying.kill()
    with closing(sqlite3.connect(system_database_url(str(site.database.url)).split("///")[1])) as file:
        file.execute("UPDATE workflow_status SET application_version = '0'")
        file.commit()
    site.hold.unlink()
    site.worker()
    (told,) = site.until_final(uid)
    assert told["state"] == "flagged"
    assert len(site.pacs.reports("SR")) == 1


def test_a_rebuilt_database_is_not_taken_for_the_old_one_by_the_queue(site: Site) -> None:
    """Our database lost, the queue's kept: revision 1 is a new one, though the queue knows an old one."""
    first = site.worker()
    uid = site.send(tiny_head())
    site.until_final(uid)
    first.end()
    site.database.close()
    old = Path(str(site.database.url.database))
    for suffix in ("", "-wal", "-shm"):
        old.with_name(old.name + suffix).unlink(missing_ok=True)
    site.database = Database(str(site.database.url))
    migrate.upgrade(site.database)
    uid = site.send(tiny_head(clot=True))
    site.worker()
    (told,) = site.until_final(uid)
    assert told["state"] == "flagged"
    site.database.close()


def test_late_objects_that_are_not_analysed_share_the_answer(site: Site) -> None:
    """A second revision over the same images names the first, runs no analysis, and sends nothing."""
    site.worker()
    head = tiny_head(clot=True)
    uid = site.send(head)
    site.until_final(uid)
    bone = tiny_head(study=uid, clot=True)
    for ds in bone:
        ds.ConvolutionKernel, ds.SeriesDescription = "BONE", "HEAD BONE"
    put(site.database, site.spool, bone)
    complete(site.database, uid)
    (told,) = site.until_final(uid, revision=2)
    assert told["state"] == "flagged"
    assert told["revisions"][1]["same_as"] == 1
    assert told["revisions"][1]["deliveries"] == []
    assert [each["state"] for each in told["deliveries"]] == ["sent", "sent"]
    assert site.stages_run()["analyse"] == 1
    assert len(site.pacs.reports("SR")) == 1


@pytest.mark.risk("R-007")
def test_late_slices_make_a_report_that_names_the_one_it_replaces(site: Site) -> None:
    """Revision 2 is analysed anew; its SR's Predecessor Documents Sequence holds the first SR."""
    site.worker()
    head = tiny_head(clot=True)
    uid = site.send(head[: SLICES - 3])
    site.until_final(uid)
    put(site.database, site.spool, head[SLICES - 3 :])
    complete(site.database, uid)
    (told,) = site.until_final(uid, revision=2)
    assert told["revision"] == 2
    assert told["series"]["chosen"]["images"] == SLICES
    first, second = (_sr(revision) for revision in told["revisions"])
    assert _predecessors(site.pacs.objects[second]) == [first]
    assert _predecessors(site.pacs.objects[first]) == []


@pytest.mark.risk("R-018")
def test_a_replaced_flag_is_taken_back_where_it_was_sent(site: Site) -> None:
    """A destination that takes only flagged studies also gets the report that replaces a flagged one."""
    site.configure(send="flagged")
    site.worker()
    never = site.send(tiny_head())
    head = tiny_head(clot=True)
    uid = site.send(head)
    site.until_final(uid, never)
    better = tiny_head(study=uid)
    for ds in better:
        ds.SliceThickness, ds.AcquisitionNumber = 5, 2
    put(site.database, site.spool, better)
    complete(site.database, uid)
    (told,) = site.until_final(uid, revision=2)
    assert told["state"] == "not_flagged"
    first, second = (_sr(revision) for revision in told["revisions"])
    assert _predecessors(site.pacs.objects[second]) == [first]
    assert site.study(never)["deliveries"] == []
    assert len(site.pacs.reports("SR")) == 2


def test_reprocess_gives_a_new_answer_over_the_same_images(site: Site) -> None:
    """A person who asks again gets an analysis, not the old result; the new SR replaces the old one."""
    site.worker()
    uid = site.send(tiny_head(clot=True))
    site.until_final(uid)
    complete(site.database, uid, CompletedBy.REPROCESS)
    (told,) = site.until_final(uid, revision=2)
    assert told["revisions"][1]["same_as"] is None
    assert site.stages_run()["analyse"] == 2
    first, second = (_sr(revision) for revision in told["revisions"])
    assert _predecessors(site.pacs.objects[second]) == [first]


def test_revisions_of_one_study_are_answered_in_order(site: Site) -> None:
    """Late slices while the first revision is in work wait for it, so that the second can name it."""
    site.hold.touch()
    site.worker()
    head = tiny_head(clot=True)
    uid = site.send(head[: SLICES - 3])
    site.until_stage("analyse")
    put(site.database, site.spool, head[SLICES - 3 :])
    complete(site.database, uid)
    other = site.send(tiny_head())
    site.until_stage("analyse", 2)
    assert site.study(uid)["revisions"][1]["ledger"]["started"] is None
    site.hold.unlink()
    told, _ = site.until_final(uid, other)
    (told,) = site.until_final(uid, revision=2)
    first, second = (_sr(revision) for revision in told["revisions"])
    assert _predecessors(site.pacs.objects[second]) == [first]


@pytest.mark.risk("R-116")
def test_a_study_that_kills_its_workers_fails_alone(site: Site, wait_until: Wait) -> None:
    """After `max_attempts` deaths the study is failed with a reason; those in work beside it are analysed."""
    site.configure(max_attempts=3)
    poison = tiny_head(clot=True)
    for ds in poison:
        ds.PixelData = (POISON_HU).to_bytes(2, "little", signed=True) + ds.PixelData[2:]
    site.hold.touch()
    killed = site.worker(kills_at=POISON_HU)
    bad = site.send(poison)
    good = [site.send(tiny_head(clot=True)) for _ in range(3)]
    site.until_stage("analyse", 4)
    site.hold.unlink()
    for _ in range(3):
        wait_until(lambda dying=killed: not dying.alive, limit_s=60, what="the poison to work")
        killed = site.worker(kills_at=POISON_HU)
    told, *others = site.until_final(bad, *good)
    assert killed.alive
    assert (told["state"], told["reason"]["code"]) == ("failed", "worker_died")
    assert "reprocess" in told["reason"]["text"]
    assert [each["state"] for each in others] == ["flagged"] * 3
    assert _sr(told["revisions"][0]) in site.pacs.arrivals
    assert told["problems"] == []


@pytest.mark.risk("R-017")
def test_an_error_inside_the_analysis_is_a_reason(site: Site) -> None:
    """Whatever the analysis raises, the study says so and names what to do; the next one is analysed."""
    site.worker(breaks_at=POISON_HU)
    broken = tiny_head()
    for ds in broken:
        ds.PixelData = (POISON_HU).to_bytes(2, "little", signed=True) + ds.PixelData[2:]
    told, other = site.until_final(site.send(broken), site.send(tiny_head()))
    assert (told["state"], told["reason"]["code"]) == ("failed", "analysis_error")
    assert "FloatingPointError" in told["reason"]["text"]
    assert "Doe" not in told["reason"]["text"]
    assert "reprocess" in told["reason"]["text"]
    assert other["state"] == "not_flagged"
    assert _sr(told["revisions"][0]) in site.pacs.arrivals


@pytest.mark.risk("R-020")
def test_a_failed_second_look_leaves_the_flag_up(site: Site) -> None:
    """A reprocess that breaks off says so, and the study stays where a flagged one stands."""
    first = site.worker()
    uid = site.send(tiny_head(clot=True))
    site.until_final(uid)
    first.end()
    site.worker(breaks_at=-1000)
    complete(site.database, uid, CompletedBy.REPROCESS)
    (told,) = site.until_final(uid, revision=2)
    assert told["revisions"][1]["state"] == "failed"
    assert (told["state"], told["priority"]) == ("flagged", 2)
    assert told["reason"]["code"] == "analysis_error"
    assert told["analysis"]["findings"][0]["subtype"] == "intraparenchymal"
    second = site.pacs.objects[_sr(told["revisions"][1])]
    assert "that flag stands" in second.to_json()
    assert _predecessors(second) == []


@pytest.mark.risk("R-005")
def test_an_angiography_is_refused_with_its_reason(site: Site) -> None:
    """Not analysed, never negative: reason in the list and in the report, no analysis run."""
    site.worker()
    cta = tiny_head(clot=True)
    for ds in cta:
        ds.SeriesDescription, ds.ContrastBolusAgent = "CTA HEAD", "IOHEXOL"
    (told,) = site.until_final(site.send(cta))
    assert (told["state"], told["reason"]["code"]) == ("not_analysed", "angiography")
    assert told["analysis"] is None
    assert site.stages_run()["analyse"] == 0
    assert "Not analysed" in str(site.pacs.objects[_sr(told["revisions"][0])])


def test_a_truncated_file_is_a_reason(site: Site) -> None:
    """Pixels that cannot be had any more end in `not analysed`, not in silence."""
    head = tiny_head()
    uid = str(head[0].StudyInstanceUID)
    put(site.database, site.spool, head)
    path = site.spool / "studies" / uid / f"{head[5].SOPInstanceUID}.dcm"
    path.write_bytes(path.read_bytes()[:-5000])
    complete(site.database, uid)
    site.worker()
    (told,) = site.until_final(uid)
    assert told["state"] == "not_analysed"
    assert told["reason"]["code"] == "unreadable_pixels"


def test_a_report_that_cannot_be_made_leaves_the_result(site: Site) -> None:
    """The study is flagged all the same, and says that its report is missing."""
    (site.spool).mkdir()
    (site.spool / "outbox").write_text("a file where a folder should be")
    site.worker()
    uid = site.send(tiny_head(clot=True))
    (told,) = site.until_final(uid)
    assert told["state"] == "flagged"
    assert told["deliveries"] == []
    assert [each["kind"] for each in told["problems"]] == ["report_not_made"]
    assert "reprocess" in told["problems"][0]["detail"]


def _put_to_sleep(fork: Fork, site: Site) -> None:
    """SIGSTOP, but not while it holds the one write lock of an SQLite file: nobody could go on then."""
    file = Path(str(site.database.url.database))
    files = [file, file.with_name(f"{file.name}.queue")] if site.database.is_sqlite else []
    while True:
        fork.send(signal.SIGSTOP)
        if all(_is_writable(each) for each in files):
            return
        fork.send(signal.SIGCONT)


def _is_writable(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=0.2, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


def _sr(revision: Json) -> str:
    (uid,) = {each["sop_instance_uid"] for each in revision["deliveries"] if each["kind"] == "sr"}
    return str(uid)


def _predecessors(report: Dataset) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for document in report.get("PredecessorDocumentsSequence") or ()
        for series in document.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]
