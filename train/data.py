"""The data sources as training takes them: prepared studies, each in a fold, and their slices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import structlog
from numpy.typing import NDArray

from ich_triage.domain.input_spec import InputSpec
from ich_triage.errors import TrainingDataError
from ich_triage.model.package import study_hash

from . import metadata, split
from .cache import Cache
from .cases import image_name
from .slices import SliceAddress, addresses
from .sources.config import Sources

log = structlog.get_logger(__name__)

Floats = NDArray[np.float64]
Strings = NDArray[np.str_]
Split = Literal["patient", "slice"]

#: Deals out the patients, once for all recipes: all are tested on the same.
_SEED = 0

#: Where things lie below the folder of the tables.
FOLDS_FILE, CASES_FOLDER, REFUSED_FILE = "folds.csv", "cases", "refused.csv"


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Prepared studies of all sources."""

    #: the metadata table, with each row's `fold` by patient
    table: pd.DataFrame
    #: a row for each prepared study: `source`, `StudyInstanceUID`, `patient`, `weight`, `path`, `fold`
    studies: pd.DataFrame
    #: what the cases are made for
    spec: InputSpec
    #: studies that what is judged has learned from before, by `study_hash`
    seen: frozenset[str] = frozenset()

    def paths(self, fold: str) -> list[Path]:
        """Cases of a fold."""
        return [Path(path) for path in self._of(fold)["path"]]

    def weights(self, fold: str) -> Floats:
        """How often each case of a fold comes, against the others, (N,)."""
        return self._of(fold)["weight"].to_numpy(dtype=np.float64)

    def judged(self) -> dict[str, list[Path]]:
        """What a network is calibrated on, and what it is tested on: see `tested`."""
        return {fold: self.tested(fold) for fold in ("calibration", "test")}

    def tested(self, fold: str) -> list[Path]:
        """Cases of a fold that a network can be judged by, each study once.

        It is known whether there is a bleed, and no study of the patient is among `seen`.
        """
        rows = self._of(fold)
        known = self.table.loc[self.table["study_any"].notna(), ["source", "StudyInstanceUID"]]
        rows = rows.merge(known.drop_duplicates()).drop_duplicates("StudyInstanceUID")
        return [Path(path) for path in rows.loc[~rows["patient"].isin(self._seen_patients()), "path"]]

    def trained_on(self) -> frozenset[str]:
        """What a network learns from, by `study_hash`."""
        return frozenset(study_hash(uid) for uid in self._of("train")["StudyInstanceUID"])

    @property
    def synthetic(self) -> bool:
        """Whether any slice was drawn, not scanned."""
        return bool(self.table["synthetic"].any())

    def told(self) -> dict[str, str | int | float]:
        """What a manifest says of the data."""
        sources = ", ".join(sorted(set(self.table["source"])))
        return {"sources": sources, **_told("train", self.paths("train")), **self.told_of_judged()}

    def told_of_judged(self) -> dict[str, str | int | float]:
        """The part of it that calibrates and tests."""
        judged = self.judged()
        return _told("calibration", judged["calibration"]) | _told("test", judged["test"])

    def slices(self, by: Split, *, seed: int) -> Slices:
        """Every slice of every study, in folds by patient or, as published, at random."""
        paths = [Path(path) for path in self.studies["path"]]
        every, images, labels, owner = addresses(paths)
        rows = self.table.assign(image=_images(self.table)).set_index("image")
        rows = rows[~rows.index.duplicated()].loc[images]
        if by == "slice":
            rows = rows.assign(
                fold=split.by_slice(rows.reset_index(drop=True), split.SHARES, seed=seed).to_numpy()
            )
        return Slices(
            addresses=every,
            labels=labels,
            patients=rows["patient"].to_numpy(dtype=str),
            folds=rows["fold"].to_numpy(dtype=str),
            brain_share=rows["brain_share"].to_numpy(dtype=np.float64),
            weights=self.studies["weight"].to_numpy(dtype=np.float64)[owner],
        )

    def _of(self, fold: str) -> pd.DataFrame:
        return self.studies[self.studies["fold"] == fold]

    def _seen_patients(self) -> set[str]:
        uids = self.studies["StudyInstanceUID"].map(study_hash)
        return set(self.studies.loc[uids.isin(self.seen), "patient"])


@dataclass(frozen=True, kw_only=True, eq=False)
class Slices:
    """N slices."""

    #: where each lies
    addresses: Sequence[SliceAddress]
    #: (N, 6): 0, 1, or NaN where unknown
    labels: NDArray[np.float32]
    #: keyed hash of each one's patient, (N,)
    patients: Strings
    #: fold of each, (N,)
    folds: Strings
    #: share of pixels between 0 and 80 HU, (N,)
    brain_share: Floats
    #: how often each comes, against the others, (N,)
    weights: Floats

    def where(self, chosen: NDArray[np.bool_]) -> Slices:
        """Those of the chosen (N,)."""
        return Slices(
            addresses=[each for each, wanted in zip(self.addresses, chosen, strict=True) if wanted],
            **{
                name: getattr(self, name)[chosen]
                for name in ("labels", "patients", "folds", "brain_share", "weights")
            },
        )


def tables(folder: Path) -> tuple[Sources, pd.DataFrame]:
    """The sources, and their tables in `folder` as one with each row's `fold` by patient.

    Raises TrainingDataError.
    """
    sources = metadata.sources_of(folder)
    table = metadata.read(sources, folder)
    table = table.assign(fold=split.frozen(table, folder / FOLDS_FILE, seed=_SEED))
    split.require_disjoint(table, table["fold"])
    return sources, table


def load(
    folder: Path, spec: InputSpec, *, seen: frozenset[str] = frozenset(), workers: int | None = None
) -> Data:
    """Read the tables in `folder`, deal out the patients, and prepare what is not prepared yet.

    `seen`: studies that what is judged has learned from before (`Package.trained_on`). `workers`: processes
    that prepare, one for each core unless given; 0 prepares in this one. Raises
    TrainingDataError.
    """
    sources, table = tables(folder)
    cache = Cache.at(folder / CASES_FOLDER, spec)
    workers = (os.cpu_count() or 1) if workers is None else workers
    filled = cache.fill(sources, table, workers=workers)
    studies, refused = filled[filled["path"].notna()], filled[filled["path"].isna()]
    if len(refused):
        told = cache.folder / REFUSED_FILE
        refused[["source", "StudyInstanceUID", "reason"]].to_csv(told, index=False)
        log.warning("studies_left_out", studies=len(refused), of=len(filled), reasons=str(told))
    if studies.empty:
        raise TrainingDataError(f"no study can be prepared; {cache.folder / REFUSED_FILE} says why of each")
    fold = table.drop_duplicates("patient").set_index("patient")["fold"]
    studies = studies.assign(fold=studies["patient"].map(fold)).reset_index(drop=True)
    return Data(table=table, studies=studies, spec=spec, seen=seen)


def _told(fold: str, paths: Sequence[Path]) -> dict[str, str | int | float]:
    """How many studies, and the hash of what they hold with their labels: their cases are named by it."""
    names = " ".join(sorted(path.stem for path in paths))
    return {
        f"{fold}_studies": len(paths),
        f"{fold}_sha256": hashlib.sha256(names.encode()).hexdigest(),
    }


def _images(table: pd.DataFrame) -> list[str]:
    return [
        image_name(uid, frame) for uid, frame in zip(table["SOPInstanceUID"], table["frame"], strict=True)
    ]
