"""Reads every file of a source once: side by side, and going on where an earlier run was cut off.

What is read is kept in shards, one Parquet file for some hundred images, each with size and time of the
file that it stands for. A shard is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ich_triage.errors import TrainingDataError

from ..parallel import run
from ..progress import watch
from .source import SCANNED, ProblemKind

#: Raise it when reading gives other rows for the same file; shards of another version are not used.
VERSION = 1
#: Secret of the patients' hashes, beside the folder of the shards: folds outlive a new reading of all files.
KEY_FILE = "patients.key"
#: What a run loses at most when it is cut off, files for each process.
_SHARD_FILES = 500

Row = dict[str, Any]

_SHARD = pa.schema(
    [
        ("size", pa.int64()),  # of the file, bytes
        ("mtime_ns", pa.int64()),  # of the file
        ("problem", pa.string()),  # ProblemKind where the file cannot be used; then all else is empty
        ("detail", pa.string()),  # why, in words
        ("accession", pa.string()),  # keyed hash of the AccessionNumber; not part of the table
        *SCANNED,
    ]
)


class FileState(NamedTuple):
    """A file as the listing found it."""

    #: below the source's folder, POSIX
    path: str
    #: bytes
    size: int
    #: time of the last change, ns
    mtime_ns: int


class Reader(Protocol):
    """Reads one file; goes to other processes, so it is a plain record that can be called."""

    @property
    def fingerprint(self) -> str:
        """Names everything besides the file that decides what comes out."""

    def __call__(self, path: Path) -> list[Row]:
        """Rows of the file, or one made by `unusable`. Raises OSError where the system cannot read it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What the files of a source hold."""

    #: one row for each slice; columns as in `SCANNED`, and `accession`
    rows: pd.DataFrame
    #: files that cannot be used; columns `path`, `problem`, `detail`
    unusable: pd.DataFrame
    #: files read by this run; the others were known
    files_read: int


def unusable(kind: ProblemKind, detail: str) -> Row:
    """The row of a file that cannot be used."""
    return {"problem": str(kind), "detail": detail}


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """Where shards are kept, and how many processes read."""

    #: folder for shards; the key of the patients' hashes lies beside it
    folder: Path
    #: processes; 0 reads in this one
    workers: int
    #: files in one shard at most
    shard_files: int = _SHARD_FILES

    def key(self) -> bytes:
        """Secret of the hashes of patients, drawn once: the same patient is the same in every source."""
        path = self.folder.parent / KEY_FILE
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.part")
            partial.touch(mode=0o600)
            partial.write_bytes(secrets.token_bytes(32))
            partial.rename(path)
        return path.read_bytes()

    def scan(self, name: str, root: Path, files: Sequence[FileState], read: Reader) -> Scan:
        """Rows of all `files` below `root`, of which only new and changed ones are read.

        Raises TrainingDataError when a process dies; what was read until then stays.
        """
        print_ = hashlib.sha256(f"{VERSION} {root.resolve()} {read.fingerprint}".encode()).hexdigest()[:12]
        folder = self.folder / f"{name}-{print_}"
        folder.mkdir(parents=True, exist_ok=True)
        listed = pd.DataFrame(files, columns=list(FileState._fields))
        known = _current(_read_shards(folder), listed)
        done = set(known.loc[known["problem"] != ProblemKind.UNREADABLE_FILE, "path"])
        todo = [file for file in files if file.path not in done]
        for file in folder.glob("*.part"):
            file.unlink(missing_ok=True)
        self._read(_Job(folder=folder, root=root, read=read), name, todo, len(done))
        found = _current(_read_shards(folder), listed) if todo else known
        bad = found["problem"].notna()
        return Scan(
            rows=_typed(found[~bad]),
            unusable=found.loc[bad, ["path", "problem", "detail"]].reset_index(drop=True),
            files_read=len(todo),
        )

    def _read(self, job: _Job, name: str, todo: Sequence[FileState], done: int) -> None:
        shards = [todo[at : at + self.shard_files] for at in range(0, len(todo), self.shard_files)]
        with watch(f"read {name}", total=len(todo) + done, done=done) as advance:
            for count in run(job, shards, workers=self.workers):
                advance(count)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a process must know to read a shard's files."""

    folder: Path
    root: Path
    read: Reader

    def __call__(self, files: Sequence[FileState]) -> int:
        """Read the files and write their shard; returns their number."""
        rows = [file._asdict() | row for file in files for row in self._rows(file)]
        table = pa.Table.from_pylist(rows, schema=_SHARD)
        write_parquet(table, self.folder / f"{uuid.uuid4().hex}.parquet")
        return len(files)

    def _rows(self, file: FileState) -> list[Row]:
        try:
            return self.read(self.root / file.path)
        except OSError as error:
            return [unusable(ProblemKind.UNREADABLE_FILE, error.strerror or type(error).__name__)]


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write `path` whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        pq.write_table(table, partial, compression="zstd")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def list_files(root: Path, accept: Callable[[str], bool]) -> list[FileState]:
    """Every file below `root` whose name is accepted, by path.

    Raises TrainingDataError where there is none, or no such folder.
    """
    if not root.is_dir():
        raise TrainingDataError(f"there is no folder {root}; correct `path` in the list of sources")
    found = sorted(_walk(root, root, accept))
    if not found:
        raise TrainingDataError(f"there is no file of this kind below {root}; correct `path` or `kind`")
    return found


def state_of(root: Path, path: str) -> FileState | None:
    """The state of one file below `root`; None where it is not there."""
    try:
        status = (root / path).stat()
    except FileNotFoundError:
        return None
    return FileState(path, status.st_size, status.st_mtime_ns)


def _walk(root: Path, folder: Path, accept: Callable[[str], bool]) -> Iterator[FileState]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(root, Path(entry.path), accept)
            elif accept(entry.name):
                path = Path(entry.path).relative_to(root).as_posix()
                yield state_of(root, path) or FileState(path, 0, 0)  # a dangling link fails when it is read


def keyed_hash(key: bytes, value: str) -> str:
    """What stands for an identifier of a patient; without the key it leads back to nobody."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:20]


def _read_shards(folder: Path) -> pd.DataFrame:
    """All rows of all shards."""
    shards = [pq.read_table(path, schema=_SHARD) for path in sorted(folder.glob("*.parquet"))]
    return pa.concat_tables(shards or [_SHARD.empty_table()]).to_pandas()


def _current(rows: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """The rows of files that are there as they were read, once each, by path and frame.

    A file that could not be read and then could has rows of both; those of the success count.
    """
    rows = rows.merge(listed, on=list(FileState._fields))
    failed = rows["problem"] == ProblemKind.UNREADABLE_FILE
    if failed.any():
        mended = rows["path"].isin(set(rows.loc[~failed, "path"]))
        rows = rows[~(failed & mended)]
    rows = rows.drop_duplicates(["path", "frame"])
    return rows.sort_values(["path", "frame"]).reset_index(drop=True)


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Usable rows with the types that the schema states; nothing but measurements is ever empty there."""
    rows = rows[["accession", *SCANNED.names]].reset_index(drop=True)
    whole = {field.name: "int32" for field in SCANNED if field.type == pa.int32()}
    flags = {field.name: "bool" for field in SCANNED if field.type == pa.bool_()}
    return rows.astype(whole | flags)
