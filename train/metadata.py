"""The metadata table: one Parquet file for each source, a row for each slice, and what is wrong beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ich_triage.domain.labels import LABELS
from ich_triage.errors import TrainingDataError

from .sources.config import Sources
from .sources.scan import Scanner, write_parquet
from .sources.source import STUDY_LABELS, TABLE, SourceTable

#: The list of sources that the tables are of, below their folder.
SOURCES_FILE = "sources.json"
#: What is read of each file, below the tables' folder; its removal makes the next run read all again.
SCAN_FOLDER = "scan"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of one source."""

    #: name of the source
    source: str
    #: rows of the table
    slices: int
    #: studies among them
    studies: int
    #: patients among them
    patients: int
    #: share of slices with a bleed among those whose label `any` is known; None where none is
    positive_slices: float | None
    #: the same of studies
    positive_studies: float | None
    #: slices whose wrapped pixels were repaired
    repaired: int
    #: kind of problem → how often
    problems: dict[str, int]
    #: the list of problems
    problems_file: Path


def build(sources: Sources, out: Path, *, workers: int) -> Iterator[Summary]:
    """Write each source's table and list of problems to `out`, and say what became of it.

    Files that an earlier run has read are not read again. Raises TrainingDataError.
    """
    scanner = Scanner(folder=out / SCAN_FOLDER, workers=workers)
    out.mkdir(parents=True, exist_ok=True)
    (out / SOURCES_FILE).write_text(sources.model_dump_json(indent=2), encoding="utf-8")
    for source in sources.sources:
        table = source.table(scanner)
        problems_file = _problems_path(out, source.name)
        _write_csv(table.problems, problems_file)
        if table.rows.empty:
            raise TrainingDataError(
                f"source {source.name} has no slice that can be used; {problems_file} says why, file by file"
            )
        rows = pa.Table.from_pandas(table.rows, schema=TABLE, preserve_index=False)
        write_parquet(rows, _path(out, source.name))
        yield _summary(source.name, table, problems_file)


def sources_of(out: Path) -> Sources:
    """The list of sources that the tables in `out` are of. Raises TrainingDataError."""
    try:
        return Sources.model_validate_json((out / SOURCES_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingDataError(
            f"there are no tables in {out}; run `python -m train metadata SOURCES --out {out}` first"
        ) from error


def read(sources: Sources, out: Path) -> pd.DataFrame:
    """The tables of all sources in one, with the column `weight` of each row's source.

    Labels are nullable booleans. Raises TrainingDataError where a table is missing.
    """
    tables = []
    for source in sources.sources:
        path = _path(out, source.name)
        if not path.exists():
            raise TrainingDataError(f"there is no table {path}; run `python -m train metadata` first")
        table = pq.read_table(path, schema=TABLE).to_pandas(types_mapper=_NULLABLE.get)
        tables.append(table.assign(weight=source.weight))
    return pd.concat(tables, ignore_index=True)


def count_problems(sources: Sources, out: Path) -> pd.DataFrame:
    """How often each kind of problem is listed for each source; columns `source`, `kind`, `count`.

    Raises TrainingDataError where a list is missing.
    """
    listed = {}
    for source in sources.sources:
        path = _problems_path(out, source.name)
        if not path.exists():
            raise TrainingDataError(f"there is no list {path}; run `python -m train metadata` again")
        listed[source.name] = pd.read_csv(path, usecols=["kind"])
    counts = pd.concat(listed, names=["source"]).groupby(["source", "kind"]).size()
    return counts.reset_index(name="count")


_NULLABLE = {pa.bool_(): pd.BooleanDtype()}


def _path(out: Path, name: str) -> Path:
    return out / f"{name}.parquet"


def _problems_path(out: Path, name: str) -> Path:
    return out / f"{name}.problems.csv"


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    partial = path.with_suffix(f".{os.getpid()}.part")
    table.to_csv(partial, index=False)
    partial.rename(path)


def _summary(name: str, table: SourceTable, problems_file: Path) -> Summary:
    rows = table.rows
    studies = rows.drop_duplicates("StudyInstanceUID")
    return Summary(
        source=name,
        slices=len(rows),
        studies=len(studies),
        patients=rows["patient"].nunique(),
        positive_slices=_share(rows[LABELS[0]]),
        positive_studies=_share(studies[STUDY_LABELS[0]]),
        repaired=int(rows["repaired"].sum()),
        problems={str(kind): int(count) for kind, count in table.problems["kind"].value_counts().items()},
        problems_file=problems_file,
    )


def _share(labels: pd.Series) -> float | None:
    known = labels.dropna()
    return float(known.mean()) if len(known) else None
