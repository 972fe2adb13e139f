"""Phantoms drawn from their seeds, with their bleeds marked: no file holds their pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from ich_triage.dicom.uids import named_uid
from ich_triage.domain.finding import ImageReference
from ich_triage.domain.labels import LABELS
from ich_triage.errors import TrainingDataError
from ich_triage.imaging.volume import Volume
from ich_triage.phantom.dicom import StudyIdentity
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.quirks import vendor_representation
from ich_triage.phantom.records import PhantomSpec, Style
from ich_triage.phantom.spec import draw

from ..drawn import FIRST_SEED, PART_SEEDS, code_sha256, to_volume
from ..parallel import one_thread, run
from ..progress import watch
from ..training_mix import mix_sha256, training_spec
from .dicom import brain_share
from .joined import source_table
from .labels import put_study_labels
from .scan import VERSION, Row, Scanner, keyed_hash, write_parquet
from .source import SCANNED, LabelledStudy, Source, SourceTable, labelled

#: What is kept of each phantom when it is drawn for the table.
_PART = pa.schema([*SCANNED, *(pa.field(label, pa.bool_()) for label in LABELS)])


class PhantomSource(Source):
    """Synthetic studies of which all is known, where the bleeds are, too.

    A phantom follows from its seed, the options and the code: it is drawn once for the table and once for its
    case. Its UIDs follow from the same, so that nothing made of one is ever taken for another's.
    """

    kind: Literal["phantoms"]
    #: phantoms
    count: int = Field(ge=1)
    #: seed of the first; the next ones count up
    first_seed: int = Field(default=20_000_000, ge=0)
    #: pixels per side
    matrix: int = Field(default=256, ge=32)
    #: generator style
    style: Style = "a"
    #: with rare and faint bleeds more often, or as they are in the RSNA set
    mix: Literal["training", "natural"] = "training"

    @model_validator(mode="after")
    def _apart_from_judged(self) -> PhantomSource:
        free = FIRST_SEED["held_out"] + PART_SEEDS
        if self.first_seed < free:
            raise ValueError(
                f"seeds below {free} are those that the shipped package is trained and evaluated on: figures "
                f"on them would flatter, or nothing may be trained on them; set first_seed to {free} or more"
            )
        return self

    def table(self, scanner: Scanner) -> SourceTable:
        """See `Source`. Phantoms that an earlier run has drawn are not drawn again."""
        folder = scanner.folder / f"{self.name}-{keyed_hash(scanner.key(), self._fingerprint)}"
        folder.mkdir(parents=True, exist_ok=True)
        job = _Job(source=self, folder=folder, key=scanner.key())
        missing = [seed for seed in self._seeds if not job.part(seed).exists()]
        with watch(f"draw {self.name}", total=self.count, done=self.count - len(missing)) as advance:
            for done in run(job, missing, workers=scanner.workers):
                advance(done)
        parts = [pq.read_table(job.part(seed), schema=_PART) for seed in self._seeds]
        return source_table(self.name, put_study_labels(pa.concat_tables(parts).to_pandas()), [])

    def load(self, rows: pd.DataFrame) -> LabelledStudy:
        """See `Source`. Raises no NotAnalysedError: a phantom is always a volume."""
        seed = int(rows["path"].iloc[0])
        phantom = self._phantom(seed)
        return replace(labelled(rows, self._volume(phantom, seed)), masks=phantom.masks.numpy())

    def require_current(self, rows: pd.DataFrame) -> None:
        """See `Source`."""
        if set(rows["StudyInstanceUID"]) != {self._uid("study", seed) for seed in self._seeds}:
            raise TrainingDataError(
                f"the phantoms of source {self.name} were drawn by another version of this code; run "
                "`python -m train metadata` again, which draws them anew"
            )

    def rows(self, seed: int, key: bytes) -> list[Row]:
        """Draw the phantom of `seed`; a row for each slice, as in `_PART`.

        `key`: secret of the patients' hashes.
        """
        phantom = self._phantom(seed)
        volume = self._volume(phantom, seed)
        study = self._header(phantom, volume) | {
            "path": str(seed),
            "frame": 0,
            "StudyInstanceUID": self._uid("study", seed),
            "SeriesInstanceUID": volume.series_instance_uid,
            # The same head in files, or drawn with other options, is the same patient's.
            "patient": keyed_hash(key, StudyIdentity.of(phantom.spec).patient_id),
            "synthetic": True,
            "repaired": False,
        }
        truth = phantom.truth.slice_labels.tolist()
        slices = zip(volume.images, volume.positions_mm.tolist(), volume.hu, truth, strict=True)
        return [
            study
            | {"SOPInstanceUID": image.sop_instance_uid, "position_mm": at, "brain_share": brain_share(hu)}
            | dict(zip(LABELS, labels, strict=True))
            for image, at, hu, labels in slices
        ]

    def _header(self, phantom: Phantom, volume: Volume) -> Row:
        """What headers of the phantom's files would say of every slice (`phantom/dicom.py`)."""
        form = vendor_representation(phantom.spec.acquisition.vendor)
        return {
            "row_spacing_mm": volume.pixel_spacing[0],
            "column_spacing_mm": volume.pixel_spacing[1],
            "thickness_mm": phantom.spec.acquisition.thickness_mm,
            "Rows": self.matrix,
            "Columns": self.matrix,
            "BitsStored": form.bits,
            "BitsAllocated": 16,
            "PixelRepresentation": int(form.signed),
            "RescaleIntercept": form.intercept,
            "RescaleSlope": 1.0,
        }

    @property
    def _seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.count)

    @property
    def _fingerprint(self) -> str:
        """Names everything besides the seed that decides a phantom and its rows."""
        code = mix_sha256() if self.mix == "training" else code_sha256()
        return f"phantom {VERSION} {code} {self.matrix} {self.style} {self.mix}"

    def _uid(self, what: str, seed: int, *parts: str) -> str:
        return named_uid(f"phantom {what}", self._fingerprint, str(seed), *parts)

    def _spec(self, seed: int) -> PhantomSpec:
        return (training_spec if self.mix == "training" else draw)(seed, style=self.style)

    def _phantom(self, seed: int) -> Phantom:
        with one_thread():
            return generate(self._spec(seed), matrix=self.matrix)

    def _volume(self, phantom: Phantom, seed: int) -> Volume:
        volume = to_volume(phantom)
        uids = [self._uid("image", seed, str(z)) for z in range(len(volume.hu))]
        images = tuple(ImageReference(sop_class_uid="", sop_instance_uid=uid) for uid in uids)
        return replace(volume, series_instance_uid=self._uid("series", seed), images=images)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Draws one phantom for the table, and keeps its rows."""

    source: PhantomSource
    folder: Path
    key: bytes

    def __call__(self, seed: int) -> int:
        """Returns 1."""
        rows = self.source.rows(seed, self.key)
        write_parquet(pa.Table.from_pylist(rows, schema=_PART), self.part(seed))
        return 1

    def part(self, seed: int) -> Path:
        """File of the rows of one phantom."""
        return self.folder / f"{seed}.parquet"
