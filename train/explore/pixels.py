"""The few studies whose pixels the exploration looks at: examples of each label, and a sample of HU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.errors import IchTriageError, NotAnalysedError

from ..progress import watch
from ..sources.config import Sources
from ..sources.source import STUDY_LABELS, LabelledStudy

#: (BitsStored, PixelRepresentation)
Group = tuple[int, int]
Floats = NDArray[np.float32]

NONE = "none"
#: Why a study could not be read, besides the reasons for which the service analyses none.
UNREADABLE = "file_unreadable"
#: What examples are shown of.
KINDS: tuple[str, ...] = (*SUBTYPES, NONE)
#: Least brain share of an example of none, which else would often be neck or air.
LEAST_BRAIN = 0.2
#: Of each kind of stored pixels: studies that are sampled, slices of each, pixels of each.
_STUDIES, _SLICES, _PIXELS = 8, 6, 50_000


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Why a study is looked at."""

    #: label whose example it is; none when it gives pixels
    kind: str = ""
    #: SOP Instance UID and frame of the example; none where only the study's label is known
    image: tuple[str, int] | None = None
    #: stored pixels that it is a sample of; none when it is an example
    group: Group | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One slice to be shown."""

    #: name of its source
    source: str
    #: what it is an example of, one of `KINDS`
    kind: str
    #: HU, (Y, X)
    hu: Floats
    #: labels of the slice, or of its study where those of the slice are unknown, (6,): 0, 1, or NaN
    labels: Floats
    #: those are labels of the whole study
    of_study: bool
    #: number of the slice, from 1, feet first
    number: int
    #: slices of the study's volume
    slices: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What one study, or all of them, gave."""

    #: to be shown
    examples: Sequence[Example] = ()
    #: sampled HU, (n,), by kind of stored pixels
    pixels: Mapping[Group, Floats] = field(default_factory=dict)
    #: why a study could not be read → how many
    unread: Mapping[str, int] = field(default_factory=dict)
    #: studies that were looked at
    studies: int = 1


def look(table: pd.DataFrame, sources: Sources, *, examples: int, seed: int) -> Look:
    """Read the studies of a sample: `examples` of each kind in each source, and some of each kind of pixels.

    A study that cannot be read is counted.
    """
    wanted: dict[tuple[str, str], list[Wanted]] = {}
    for key, purpose in [*_examples(table, examples, seed), *_samples(table, seed)]:
        wanted.setdefault(key, []).append(purpose)
    rows = table[pd.MultiIndex.from_frame(table[["source", "StudyInstanceUID"]]).isin(list(wanted))]
    by_study = dict(iter(rows.groupby(["source", "StudyInstanceUID"], sort=False)))
    rng = np.random.default_rng([seed, 2])
    looks = []
    with watch("look at studies", total=len(wanted), done=0) as advance:
        for key, purposes in wanted.items():
            looks.append(_look(sources, by_study[key], purposes, rng))
            advance(1)
    return _joined(looks)


def _examples(table: pd.DataFrame, count: int, seed: int) -> Iterator[tuple[tuple[str, str], Wanted]]:
    """Studies of each source for each kind: a slice that shows it, or a study where slices say nothing."""
    rng = np.random.default_rng([seed, 0])
    for source, rows in table.groupby("source", sort=False):
        by_slice = bool(rows[LABELS[0]].notna().any())
        for kind in KINDS:
            there = _there(rows, kind, LABELS if by_slice else STUDY_LABELS)
            for at in _of_different_studies(rows, np.flatnonzero(there), count, rng):
                row = rows.iloc[at]
                image = (row["SOPInstanceUID"], int(row["frame"])) if by_slice else None
                yield (str(source), row["StudyInstanceUID"]), Wanted(kind=kind, image=image)


def _there(rows: pd.DataFrame, kind: str, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows are known to be of a kind, and fit to be shown."""
    if kind == NONE:
        brain = (rows["brain_share"] >= LEAST_BRAIN).to_numpy()
        return np.asarray((~rows[columns[0]]).fillna(False).to_numpy(dtype=bool) & brain)
    return np.asarray(rows[columns[LABELS.index(kind)]].fillna(False).to_numpy(dtype=bool))


def _of_different_studies(
    rows: pd.DataFrame, at: NDArray[np.int64], count: int, rng: np.random.Generator
) -> Sequence[int]:
    """So many of the rows `at`, no two of one study."""
    order = rng.permutation(at)
    first = ~rows["StudyInstanceUID"].iloc[order].duplicated().to_numpy()
    return [int(each) for each in order[first][:count]]


def _samples(table: pd.DataFrame, seed: int) -> Iterator[tuple[tuple[str, str], Wanted]]:
    """Studies of each kind of stored pixels."""
    rng = np.random.default_rng([seed, 1])
    for (bits, signed), rows in table.groupby(["BitsStored", "PixelRepresentation"]):
        for at in _of_different_studies(rows, np.arange(len(rows)), _STUDIES, rng):
            row = rows.iloc[at]
            yield (row["source"], row["StudyInstanceUID"]), Wanted(group=(int(bits), int(signed)))


def _look(sources: Sources, rows: pd.DataFrame, wanted: Sequence[Wanted], rng: np.random.Generator) -> Look:
    """What the study of `rows` gives of what is wanted."""
    try:
        read = sources.named(rows["source"].iloc[0]).load(rows)
    except NotAnalysedError as error:
        return Look(unread={str(error.code): 1})
    except (IchTriageError, OSError):  # gone or changed since the table was made
        return Look(unread={UNREADABLE: 1})
    shown = [_example(read, rows, each) for each in wanted if each.kind]
    pixels = {each.group: _sampled(read, rows, each.group, rng) for each in wanted if each.group}
    return Look(
        examples=[each for each in shown if each],
        pixels={group: values for group, values in pixels.items() if len(values)},
    )


def _example(read: LabelledStudy, rows: pd.DataFrame, wanted: Wanted) -> Example | None:
    """The slice that is wanted, or the middle one; None where the volume lacks it."""
    images = [(image.sop_instance_uid, image.frame_number or 0) for image in read.volume.images]
    if wanted.image is not None and wanted.image not in images:
        return None
    index = images.index(wanted.image) if wanted.image else len(images) // 2
    return Example(
        source=rows["source"].iloc[0],
        kind=wanted.kind,
        hu=read.volume.hu[index].copy(),
        labels=read.slice_labels[index] if wanted.image else read.study_labels,
        of_study=wanted.image is None,
        number=index + 1,
        slices=len(images),
    )


def _sampled(read: LabelledStudy, rows: pd.DataFrame, group: Group, rng: np.random.Generator) -> Floats:
    """Pixels out of a few slices, spread over the volume, that are stored as `group` says; HU, (n,)."""
    stored = rows.set_index(["SOPInstanceUID", "frame"])[["BitsStored", "PixelRepresentation"]]
    images = [(image.sop_instance_uid, image.frame_number or 0) for image in read.volume.images]
    alike = np.flatnonzero((stored.loc[images].to_numpy() == group).all(axis=1))
    if not len(alike):
        return np.empty(0, np.float32)
    spread = alike[np.unique(np.linspace(0, len(alike) - 1, _SLICES).round().astype(int))]
    values = read.volume.hu[spread].ravel()
    return values if len(values) <= _PIXELS else rng.choice(values, _PIXELS, replace=False)


def _joined(looks: Sequence[Look]) -> Look:
    pixels: dict[Group, list[Floats]] = {}
    for each in looks:
        for group, values in each.pixels.items():
            pixels.setdefault(group, []).append(values)
    unread: Counter[str] = Counter()
    for each in looks:
        unread.update(each.unread)
    return Look(
        examples=[example for each in looks for example in each.examples],
        pixels={group: np.concatenate(values) for group, values in sorted(pixels.items())},
        unread=dict(unread),
        studies=len(looks),
    )
