"""Reading: each file once, whatever cuts the run off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread

import pandas as pd
import psutil
import pytest

from ich_triage.errors import TrainingDataError
from train.sources.dicom import DicomReader
from train.sources.scan import FileState, Row, Scanner, list_files

FILES = 111
REPOSITORY = Path(__file__).parents[4]


@dataclass(frozen=True)
class CountingReader:
    """The real reader, which counts what it opens and is cut off before file number `dies_at`."""

    inner: DicomReader
    dies_at: int = FILES + 1
    opened: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """As the inner one's."""
        return self.inner.fingerprint

    def __call__(self, path: Path) -> list[Row]:
        """Count and read."""
        if len(self.opened) + 1 == self.dies_at:
            raise KeyboardInterrupt
        self.opened.append(path.name)
        return self.inner(path)


@pytest.fixture
def reader(scanner: Scanner) -> DicomReader:
    """The reader of the RSNA layout."""
    return DicomReader(key=scanner.key(), any_uid=True)


def _files(folder: Path) -> list[FileState]:
    return list_files(folder, lambda name: name.endswith(".dcm"))


def _spoil(folder: Path, files: list[FileState]) -> None:
    """Put rubbish into the files so that only who reads them again can tell."""
    for file in files:
        path = folder / file.path
        path.write_bytes(b"x" * file.size)
        os.utime(path, ns=(file.mtime_ns, file.mtime_ns))


def test_a_run_that_was_cut_off_goes_on_and_opens_nothing_twice(
    drawn: Path, scanner: Scanner, reader: DicomReader
) -> None:
    """Of 111 files 35 are read when the run ends; three shards are whole, so the next reads the other 81."""
    folder = drawn / "images"
    cut, rest = CountingReader(reader, dies_at=36), CountingReader(reader)
    with pytest.raises(KeyboardInterrupt):
        scanner.scan("rsna", folder, _files(folder), cut)
    resumed = scanner.scan("rsna", folder, _files(folder), rest)
    assert (len(cut.opened), len(rest.opened), resumed.files_read) == (35, 81, 81)
    assert not set(rest.opened) & set(cut.opened[:30])
    whole = replace(scanner, folder=scanner.folder / "other").scan("rsna", folder, _files(folder), reader)
    pd.testing.assert_frame_equal(resumed.rows, whole.rows)
    again = scanner.scan("rsna", folder, _files(folder), rest)
    assert (again.files_read, len(rest.opened)) == (0, 81)


def test_processes_resume_from_whole_shards(layout: Path, scanner: Scanner, reader: DicomReader) -> None:
    """With one shard lost, other processes read its files alone: the rest are rubbish by now, unnoticed."""
    folder, files = layout / "images", _files(layout / "images")
    parallel = replace(scanner, workers=2)
    first = parallel.scan("rsna", folder, files, reader)
    lost = next(scanner.folder.glob("rsna-*/*.parquet"))
    again = set(pd.read_parquet(lost)["path"])
    lost.unlink()
    _spoil(folder, [file for file in files if file.path not in again])
    second = parallel.scan("rsna", folder, files, reader)
    assert second.files_read == len(again)
    pd.testing.assert_frame_equal(second.rows, first.rows)


_KILLED = """
import sys
from pathlib import Path
from train.sources.dicom import DicomReader
from train.sources.scan import Scanner, list_files

root, folder = map(Path, sys.argv[1:])
scanner = Scanner(folder=folder, workers=1, shard_files=1)
if __name__ == "__main__":
    files = list_files(root, lambda name: name.endswith(".dcm"))
    scanner.scan("rsna", root, files, DicomReader(key=scanner.key(), any_uid=True))
"""


def test_kill_9_costs_the_shard_that_was_begun_and_leaves_no_process(
    drawn: Path, scanner: Scanner, reader: DicomReader, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """What was whole when the command was killed is not read again, and its processes end with it."""
    script, folder = tmp_path / "killed.py", drawn / "images"
    script.write_text(_KILLED)
    path = {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(script), str(folder), str(scanner.folder)]
    process = subprocess.Popen(command, env=os.environ | path)
    shards = scanner.folder.glob
    wait_until(lambda: len(list(shards("rsna-*/*.parquet"))) >= 5, limit_s=60, what="five shards")
    children = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    psutil.wait_procs(children, timeout=30)
    assert not any(child.is_running() for child in children)
    whole = len(list(shards("rsna-*/*.parquet")))
    resumed = scanner.scan("rsna", folder, _files(folder), reader)
    assert resumed.files_read == FILES - whole and len(resumed.rows) == FILES


def test_a_process_that_dies_is_told_and_costs_its_shard_alone(
    drawn: Path, scanner: Scanner, reader: DicomReader, wait_until: Callable[..., None]
) -> None:
    """One that the system kills for want of memory ends the run with the remedy, which then works."""
    folder, parallel = drawn / "images", replace(scanner, workers=1, shard_files=1)

    def kill_reader() -> None:
        wait_until(lambda: len(list(scanner.folder.glob("rsna-*/*.parquet"))) >= 3, limit_s=60)
        for child in psutil.Process().children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()

    killer = Thread(target=kill_reader)
    killer.start()
    with pytest.raises(TrainingDataError, match="run the same command again, with fewer --workers"):
        parallel.scan("rsna", folder, _files(folder), reader)
    killer.join()
    resumed = scanner.scan("rsna", folder, _files(folder), reader)
    assert resumed.files_read <= FILES - 3 and len(resumed.rows) == FILES


def test_changed_new_and_removed_files_are_noticed(
    layout: Path, scanner: Scanner, reader: DicomReader
) -> None:
    """What is new or differs in size or time is read, what is gone is gone; the rest is not read again."""
    folder = layout / "images"
    scanner.scan("rsna", folder, _files(folder), reader)
    changed, removed, copied = sorted(folder.iterdir())[:3]
    changed.write_bytes(b"rubbish")
    removed.unlink()
    shutil.copy(copied, folder / "new.dcm")
    second = scanner.scan("rsna", folder, _files(folder), reader)
    assert second.files_read == 2
    assert second.unusable["path"].to_list() == [changed.name]
    assert {removed.name, changed.name}.isdisjoint(second.rows["path"])
    assert "new.dcm" in set(second.rows["path"])


def test_a_file_that_the_system_does_not_give_is_tried_again(
    layout: Path, scanner: Scanner, reader: DicomReader
) -> None:
    """A share that was away for a moment marks no file as bad for good."""
    folder = layout / "images"
    files = _files(folder)
    hidden = folder / files[0].path
    hidden.rename(layout / "hidden")
    first = scanner.scan("rsna", folder, files, reader)
    assert first.unusable["problem"].to_list() == ["unreadable_file"]
    (layout / "hidden").rename(hidden)
    second = scanner.scan("rsna", folder, files, reader)
    assert (second.files_read, len(second.unusable), len(second.rows)) == (1, 0, FILES)


def test_another_key_or_reading_uses_no_old_shard(drawn: Path, scanner: Scanner, reader: DicomReader) -> None:
    """What was read in another way is read anew."""
    folder = drawn / "images"
    files = _files(folder)[:3]
    assert scanner.scan("rsna", folder, files, reader).files_read == 3
    assert scanner.scan("rsna", folder, files, replace(reader, key=b"another")).files_read == 3
    assert scanner.scan("rsna", folder, files, replace(reader, any_uid=False)).files_read == 3


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    """A folder that is not there, and one without such files, name what to correct."""
    with pytest.raises(TrainingDataError, match=r"there is no folder .* correct `path`"):
        _files(tmp_path / "gone")
    with pytest.raises(TrainingDataError, match="no file of this kind"):
        _files(tmp_path)
