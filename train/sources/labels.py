"""Labels out of CSV files, whatever is wrong with them, and their way to slices and studies."""

from __future__ import annotations

import csv as plain_csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from ich_triage.domain.labels import LABELS
from ich_triage.errors import TrainingDataError

from .source import STUDY_LABELS, ProblemKind, problems

#: What the public set puts before every UID.
RSNA_PREFIX = "ID_"

_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_UNKNOWN = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Six labels for each key of one file."""

    #: index: the key; columns: `LABELS`; nullable boolean, empty where unknown
    values: pd.DataFrame
    #: what is wrong; see `source.problems`
    problems: pd.DataFrame


def read_long(path: Path) -> Labels:
    """Labels of the RSNA 2019 challenge: `ID_x_subtype,Label`, a row for each slice and label.

    The key is `ID_x`, also where the prefix is missing. Raises TrainingDataError where the file is none of
    this kind.
    """
    found: list[pd.DataFrame] = []
    table = _read_csv(path, ["ID", "Label"], found)
    ids = table["ID"].combine_chunks()
    parts = pc.extract_regex(ids, rf"^(?:{RSNA_PREFIX})?(?P<key>.+)_(?P<label>[^_]+)$")
    label = pc.index_in(pc.struct_field(parts, "label"), pa.array([str(each) for each in LABELS]))
    value = pc.index_in(pc.utf8_trim_whitespace(table["Label"]).combine_chunks(), pa.array(["0", "1"]))
    kinds = (
        (ProblemKind.MALFORMED_ROW, pc.is_null(parts)),
        (ProblemKind.UNKNOWN_SUBTYPE, pc.and_(pc.is_valid(parts), pc.is_null(label))),
        (ProblemKind.MALFORMED_ROW, pc.and_(pc.is_valid(label), pc.is_null(value))),
    )
    found += [problems(kind, ids.filter(where).to_pylist()) for kind, where in kinds]
    good = pc.and_(pc.is_valid(label), pc.is_valid(value))
    keys = pc.struct_field(parts, "key").filter(good).dictionary_encode()
    observed = _Observed(
        keys=[f"{RSNA_PREFIX}{key}" for key in keys.dictionary.to_pylist()],
        key=keys.indices.to_numpy(),
        label=label.filter(good).to_numpy(),
        value=value.filter(good).to_numpy(),
    )
    return _merged(observed, found, LABELS)


def read_wide(path: Path, keys: Collection[str], *, others: Collection[str] = ()) -> tuple[str, Labels]:
    """Labels of a file with a row for each thing and a column for each label, some of the six.

    The first of `keys` that the file has is its key column; returned are its name and the labels.
    `others` are columns that may stand beside them. Where `any` is no column it follows from the subtypes.
    Raises TrainingDataError where there is no key or no label.
    """
    found: list[pd.DataFrame] = []
    table = _read_csv(path, (), found).to_pandas().fillna("").astype(str)
    table.columns = [_label_name(name) for name in table.columns]
    key, labels = _columns(path, list(table.columns), keys)
    unknown = [name for name in table.columns if name not in {key, *labels, *others}]
    table[key] = table[key].str.strip()
    nameless = [f"row {at + 1}" for at in table.index[table[key] == ""]]  # of those with the right length
    found += [
        problems(ProblemKind.UNKNOWN_SUBTYPE, unknown, "column"),
        problems(ProblemKind.MALFORMED_ROW, nameless, f"{key} is empty"),
    ]
    table = table[table[key] != ""]
    places, names = pd.factorize(table[key])
    value = np.stack([_numbers(table, key, label, found) for label in labels], axis=1)
    row, column = np.nonzero(value != _UNKNOWN)
    observed = _Observed(
        keys=list(names),
        key=places[row],
        label=np.array([LABELS.index(label) for label in labels])[column],
        value=value[row, column],
    )
    return key, _merged(observed, found, labels)


def _columns(path: Path, names: Collection[str], keys: Collection[str]) -> tuple[str, list[str]]:
    """The key column and the label columns among `names`. Raises TrainingDataError where one lacks."""
    key = next((name for name in keys if name in names), None)
    labels = [str(label) for label in LABELS if label in names]
    if key is None or not labels:
        raise TrainingDataError(
            f"{path.name} has the columns {', '.join(names)}: it needs {' or '.join(keys)} and at "
            f"least one of {', '.join(LABELS)}"
        )
    return key, labels


def _label_name(name: str) -> str:
    plain = name.strip().lower()
    return plain if plain in LABELS else name.strip()


def _numbers(table: pd.DataFrame, key: str, label: str, found: list[pd.DataFrame]) -> NDArray[np.int8]:
    """One column as 0, 1 or unknown; what is none of these is listed by its key."""
    text = table[label].str.strip().str.lower()
    number = text.map(_VALUES)
    wrong = number.isna() & (text != "")
    found.append(problems(ProblemKind.MALFORMED_ROW, table.loc[wrong, key], f"{label} is neither 0 nor 1"))
    return number.fillna(_UNKNOWN).to_numpy(dtype=np.int8)


def _read_csv(path: Path, columns: Sequence[str], found: list[pd.DataFrame]) -> pa.Table:
    """The file as text columns; lines of another length are listed. Raises TrainingDataError."""

    def skip(row: csv.InvalidRow) -> str:
        found.append(problems(ProblemKind.MALFORMED_ROW, [f"line {row.number}"], "number of columns"))
        return "skip"

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(plain_csv.reader(file), [])
        if len({_label_name(name) for name in names}) < len(names):
            raise TrainingDataError(f"{path.name} has two columns of one name; rename or remove one")
        return csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False),  # line numbers are known to one thread alone
            parse_options=csv.ParseOptions(invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=columns
            ),
        )
    except FileNotFoundError as error:
        raise TrainingDataError(
            f"there is no file {path}; correct `labels` in the list of sources"
        ) from error
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        wanted = f" with the columns {', '.join(columns)}" if columns else ""
        why = str(error).splitlines()[0]
        raise TrainingDataError(f"{path.name} is no CSV file{wanted} in UTF-8: {why}") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class _Observed:
    """Single statements: key number `key` has `value` in label number `label`."""

    keys: Sequence[str]
    key: NDArray[np.integer]
    label: NDArray[np.integer]
    value: NDArray[np.integer]


def _merged(observed: _Observed, found: list[pd.DataFrame], given: Sequence[str]) -> Labels:
    """One row for each key; what contradicts is unknown and listed.

    Where `any` is not among the labels `given`, it follows from the subtypes; where it is 0, subtypes of
    which nothing is said are 0.
    """
    size = len(observed.keys) * len(LABELS)
    at = observed.key.astype(np.int64) * len(LABELS) + observed.label
    said = [np.bincount(at[observed.value == value], minlength=size) > 0 for value in (0, 1)]
    zero, one = (each.reshape(-1, len(LABELS)) for each in said)
    key, label = np.nonzero(zero & one)
    names = [f"{observed.keys[k]}_{LABELS[n]}" for k, n in zip(key.tolist(), label.tolist(), strict=True)]
    found.append(problems(ProblemKind.CONFLICTING_LABELS, names, "rows say 0 and 1"))
    state = np.where(one & ~zero, 1, np.where(zero & ~one, 0, _UNKNOWN)).astype(np.int8)
    if "any" not in given:
        state[:, 0] = any_of(state[:, 1:])
    wrong = (state[:, 0] == 0) & (state[:, 1:] == 1).any(axis=1)
    state[wrong] = _UNKNOWN
    state[(state[:, :1] == 0) & ~zero & ~one] = 0  # no bleed at all is none of any kind
    names = [observed.keys[k] for k in np.flatnonzero(wrong).tolist()]
    found.append(problems(ProblemKind.CONTRADICTING_LABELS, names, "any is 0, a subtype is 1"))
    values = frame(observed.keys, state)
    return Labels(values=values, problems=pd.concat(found, ignore_index=True))


def frame(keys: Sequence[str], state: NDArray[np.int8]) -> pd.DataFrame:
    """Label columns of `state`, (keys, 6) with 0, 1 and −1 for unknown, by key."""
    columns = {
        label: pd.arrays.BooleanArray(state[:, n] == 1, state[:, n] == _UNKNOWN)
        for n, label in enumerate(LABELS)
    }
    return pd.DataFrame(columns, index=pd.Index(keys, dtype=str))


def any_of(state: NDArray[np.int8], axis: int = 1) -> NDArray[np.int8]:
    """Whether any is 1, along `axis`: 1 where one is, else unknown (−1) where one is unknown, else 0."""
    one, unknown = (state == 1).any(axis=axis), (state == _UNKNOWN).any(axis=axis)
    return np.where(one, 1, np.where(unknown, _UNKNOWN, 0)).astype(np.int8)


def put(rows: pd.DataFrame, labels: pd.DataFrame, keys: pd.Series, *, to: Sequence[str]) -> pd.DataFrame:
    """`rows` with the labels of their `keys` in the columns `to`; unknown where there are none."""
    wanted = labels.reindex(keys.to_numpy())
    return rows.assign(**{name: wanted[label].array for name, label in zip(to, LABELS, strict=True)})


def put_unknown(rows: pd.DataFrame, *, to: Sequence[str]) -> pd.DataFrame:
    """`rows` with the columns `to`, unknown."""
    return rows.assign(**dict.fromkeys(to, pd.array([pd.NA] * len(rows), dtype="boolean")))


def put_study_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Study labels from slice labels: 1 where a slice is, else unknown where one is unknown, else 0."""
    study, names = pd.factorize(rows["StudyInstanceUID"])
    found = {}
    for label, name in zip(LABELS, STUDY_LABELS, strict=True):
        said = (rows[label].fillna(False).to_numpy(dtype=bool), rows[label].isna().to_numpy())
        one, unknown = (np.bincount(study[each], minlength=len(names)) > 0 for each in said)
        found[name] = pd.arrays.BooleanArray(one[study], (unknown & ~one)[study])
    return rows.assign(**found)
