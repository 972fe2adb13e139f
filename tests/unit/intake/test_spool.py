"""The spool's own promises: durable, never overwritten, nothing half, nothing left behind."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ich_triage.domain.uid import is_uid
from ich_triage.errors import SpoolError, SpoolFullError
from ich_triage.intake.spool import Spool, digest


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An open spool without a reserve."""
    spool = Spool(tmp_path / "spool", reserve_bytes=0)
    spool.open()
    yield spool
    spool.close()


def _received(spool: Spool, content: bytes, *, high_priority: bool = False) -> Path:
    path, file = spool.create()
    file.write(content)
    return spool.make_durable(path, file, high_priority=high_priority, association=1).path


def test_what_is_durable_lies_in_the_inbox_in_order(spool: Spool) -> None:
    """Inbox names carry time and priority, so that a restart knows both."""
    first = _received(spool, b"one")
    second = _received(spool, b"two", high_priority=True)
    found = spool.inboxed()
    assert [(item.path, item.high_priority) for item in found] == [(first, False), (second, True)]
    assert found[0].received_at < found[1].received_at
    assert list((spool.root / "incoming").glob("*/[0-9a-f]*")) == []


@pytest.mark.risk("R-008")
def test_contents_reach_the_disk_before_the_name(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is file, rename, folder: a power cut can never leave a name for half a file."""
    calls: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        calls.append("rename")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    _received(spool, b"one")
    assert calls == ["file", "rename", "folder"]


def test_a_reserve_is_kept(tmp_path: Path) -> None:
    """Below the reserve nothing is even begun."""
    spool = Spool(tmp_path / "spool", reserve_bytes=1 << 60)
    spool.open()
    with pytest.raises(SpoolFullError):
        spool.create()
    spool.close()


def test_a_duplicate_is_dropped_and_a_conflict_kept_beside(spool: Spool) -> None:
    """Same content twice is one file; other content under the same UID never touches the first."""
    first, conflict = _placed(spool, b"one")
    again = _placed(spool, b"one")
    beside, is_conflict = _placed(spool, b"two")
    assert (conflict, again, is_conflict) == (False, (first, False), True)
    assert first.read_bytes() == b"one"
    assert beside.read_bytes() == b"two"
    assert beside.name == f"1.3.{_sha(b'two')[:8]}.dcm"
    assert spool.inboxed() == []


def _placed(spool: Spool, content: bytes) -> tuple[Path, bool]:
    return spool.place(_received(spool, content), study_uid="1.2", sop_uid="1.3", sha256=_sha(content))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_crash_between_link_and_unlink_is_a_duplicate(spool: Spool) -> None:
    """A file that lies in the inbox and in its study is placed once more without harm."""
    inboxed = _received(spool, b"one")
    (spool.studies / "1.2").mkdir()
    (spool.studies / "1.2" / "1.3.dcm").hardlink_to(inboxed)
    path, conflict = spool.place(inboxed, study_uid="1.2", sop_uid="1.3", sha256=_sha(b"one"))
    assert (path.read_bytes(), conflict, inboxed.exists()) == (b"one", False, False)


def test_the_digest_leaves_out_who_sent_it(tmp_path: Path) -> None:
    """The same data set has the same digest behind another file meta information."""
    meta = [
        b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0" + bytes([size]) + bytes(3) + bytes(size) for size in (8, 20)
    ]
    for number, head in enumerate(meta):
        (tmp_path / str(number)).write_bytes(head + b"the data set")
    assert digest(tmp_path / "0") == digest(tmp_path / "1") == _sha(b"the data set")


def test_a_dead_receivers_halves_go_and_a_living_ones_stay(tmp_path: Path) -> None:
    """At the start, unfinished objects of a killed process are removed, those of a running one are not."""
    root = tmp_path / "spool"
    living = Spool(root, reserve_bytes=0)
    living.open()
    half, file = living.create()
    code = (
        "import os, sys; from pathlib import Path; from ich_triage.intake.spool import Spool\n"
        f"spool = Spool(Path({str(root)!r}), reserve_bytes=0); spool.open(); path, file = spool.create()\n"
        "file.write(b'half'); file.flush(); print(path, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.exists()
    later = Spool(root, reserve_bytes=0)
    later.open()
    assert not left.parent.exists()
    assert half.exists()
    file.close()
    later.close()
    living.close()


def test_an_unusable_spool_says_so(tmp_path: Path) -> None:
    """A file where the folder should be is a SpoolError, not a traceback."""
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(SpoolError):
        Spool(tmp_path / "spool", reserve_bytes=0).open()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.2.840.10008", True),
        ("1.02", True),
        ("", False),
        ("..", False),
        (".1", False),
        ("1/2", False),
        ("1" * 65, False),
        ("1.2\n", False),
    ],
)
@pytest.mark.risk("R-117")
def test_only_digits_and_dots_become_file_names(value: str, expected: bool) -> None:
    """No UID can climb out of its folder."""
    assert is_uid(value) is expected
