"""A spool's files in a folder and in a real object store: the same promises from both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ich_triage.errors import SettingsError, SpoolAwayError
from ich_triage.settings import Spool
from ich_triage.storage import scratch
from ich_triage.storage.bucket import Bucket
from ich_triage.storage.files import Files, files_of
from ich_triage.storage.scratch import Scratch
from tests.object_store import ObjectStore, object_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """One server for all."""
    with object_store(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(params=["folder", "bucket"])
def spool(request: pytest.FixtureRequest, tmp_path: Path, store: ObjectStore) -> Files:
    """Empty, of both kinds."""
    if request.param == "folder":
        return files_of(Spool(path=tmp_path / "spool"))
    return files_of(Spool(**store.settings(tmp_path, prefix=tmp_path.name)))


def test_what_is_written_can_be_read_listed_copied_and_deleted(spool: Files, tmp_path: Path) -> None:
    """Both kinds of spool do the same for whoever uses them."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    for name in ("studies/1.2/b.dcm", "studies/1.2/a.dcm", "studies/1.20/c.dcm"):
        spool.write(name, name.encode())
    spool.write("studies/1.2/a.dcm", b"anew")
    assert [entry.path for entry in spool.list("studies/1.2")] == ["studies/1.2/a.dcm", "studies/1.2/b.dcm"]
    assert all(entry.modified > before for entry in spool.list("studies"))
    first, gone = spool.local(["studies/1.2/a.dcm", "studies/1.2/no.dcm"])
    assert first.read_bytes() == b"anew" and not gone.exists()
    spool.copy_out("studies/1.20/c.dcm", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"studies/1.20/c.dcm"
    spool.delete(["studies/1.2/a.dcm", "studies/1.2/no.dcm"])
    assert [spool.exists(f"studies/1.2/{name}.dcm") for name in "ab"] == [False, True]
    assert not spool.exists("studies/1.2") and list(spool.list("outbox")) == []
    with pytest.raises(FileNotFoundError):
        spool.copy_out("studies/1.2/a.dcm", tmp_path / "copy")


def test_a_store_that_is_away_never_looks_like_a_file_that_is_gone(tmp_path: Path) -> None:
    """Stopped, a bucket that is not there, credentials that are refused: an error that passes, in words."""
    with object_store(tmp_path) as store:
        given = store.settings(tmp_path)
        wrong = tmp_path / "wrong"
        wrong.write_text(store.credentials.read_text().replace("secret-key", "other-key"))
        for changed, words in (({"url": "s3://other"}, "bucket"), ({"credentials_file": wrong}, "refuses")):
            _refuses(Bucket(Spool(**given | changed)), words)
        bucket = Bucket(Spool(**given))
        store.stop()
        _refuses(bucket, "does not answer")
        store.start()
        bucket.write("a", b"b")
        assert bucket.exists("a")


def _refuses(bucket: Bucket, words: str) -> None:
    for use in (
        lambda: bucket.exists("a"),
        lambda: bucket.write("a", b"b"),
        lambda: bucket.local(["a"]),
        lambda: list(bucket.list("a")),
    ):
        with pytest.raises(SpoolAwayError, match=words):
            use()


def test_credentials_come_from_the_environment_or_a_file_that_says_what_is_wrong(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file, AWS's own variables; a file without a key is named."""
    given = store.settings(tmp_path, prefix=tmp_path.name) | {"credentials_file": None}
    for line in store.credentials.read_text().splitlines()[1:]:
        name, _, value = line.partition(" = ")
        monkeypatch.setenv(name.upper(), value)
    Bucket(Spool(**given)).write("a", b"b")
    lacking = tmp_path / "lacking"
    lacking.write_text("[default]\n")
    with pytest.raises(SettingsError, match=r"lacking needs a section \[default\]"):
        Bucket(Spool(**given | {"credentials_file": lacking}))


def test_copies_on_this_machine_go_when_nobody_asks_for_them(tmp_path: Path) -> None:
    """By age, with their process in order, and after its death with the start of the next one."""
    mine = Scratch(tmp_path)
    for name in ("1.2/old.dcm", "1.2/new.dcm"):
        mine.put(name, [b"a", b"b"])
    at = mine.place("1.2/old.dcm").stat().st_mtime - scratch.KEPT_S - 1
    os.utime(mine.place("1.2/old.dcm"), (at, at))
    mine.sweep()
    assert (mine.has("1.2/old.dcm"), mine.has("1.2/new.dcm")) == (False, True)
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "x.dcm").write_bytes(b"x")
    other = Scratch(tmp_path)
    assert not (tmp_path / "dead").exists() and mine.has("1.2/new.dcm")
    mine.close()
    other.close()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
