"""Phantoms in the layout of the RSNA 2019 set, with its oddities: what its path can be tested on."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydicom import DataElement, Dataset, config

from ich_triage.domain.labels import LABELS
from ich_triage.phantom.dicom import study_datasets
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw

from ..parallel import one_thread, run
from ..progress import watch
from .labels import RSNA_PREFIX

# fmt: off
#: The attributes that the set's files have, and no others.
_KEYWORDS = frozenset({
    "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyID",
    "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation", "Rows",
    "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope", "PixelData",
})
# fmt: on
_NAMED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IMAGES, LABELS_FILE, SOURCES_FILE = "images", "labels.csv", "sources.toml"


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Draws one phantom; its labels come last, so that where they are, the images are."""

    out: Path
    matrix: int

    def __call__(self, seed: int) -> int:
        """Write the phantom of `seed`; returns 1."""
        with one_thread():
            phantom = generate(draw(seed), matrix=self.matrix)
        lines = []
        truth = phantom.truth.slice_labels.tolist()
        for ds, labels in zip(study_datasets(phantom, quirks=True), truth, strict=True):
            _strip(ds)
            ds.save_as(self.out / IMAGES / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
            lines += [
                f"{ds.SOPInstanceUID}_{name},{int(value)}" for name, value in zip(LABELS, labels, strict=True)
            ]
        part = self.part(seed)
        partial = part.with_suffix(f".{os.getpid()}.part")
        partial.write_text("\n".join([*lines, ""]))
        partial.rename(part)
        return 1

    def part(self, seed: int) -> Path:
        """File of the labels of one phantom."""
        return self.out / "parts" / f"{seed}-{self.matrix}.csv"


def write(out: Path, *, count: int, seed: int, matrix: int, workers: int) -> None:
    """Write `count` phantoms from `seed` on: `images/ID_….dcm`, `labels.csv`, and a list of sources.

    `matrix` is pixels per side. A second run draws only what is missing. Raises TrainingDataError when a
    process dies.
    """
    job = _Job(out=out, matrix=matrix)
    for folder in (out / IMAGES, job.part(seed).parent):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = range(seed, seed + count)
    missing = [each for each in seeds if not job.part(each).exists()]
    with watch("draw phantoms", total=count, done=count - len(missing)) as advance:
        for done in run(job, missing, workers=workers):
            advance(done)
    with (out / LABELS_FILE).open("w") as file:
        file.write("ID,Label\n")
        file.writelines(job.part(each).read_text() for each in seeds)
    paths = (json.dumps(str(out / name)) for name in (IMAGES, LABELS_FILE))  # a JSON string is a TOML one
    (out / SOURCES_FILE).write_text(
        '[[sources]]\nkind = "rsna"\nname = "phantoms"\npath = {}\nlabels = {}\n'.format(*paths)
    )


def _strip(ds: Dataset) -> None:
    """Leave what the set's files have, and name things as it does: `ID_` and hexadecimal digits."""
    for element in list(ds):
        if element.keyword not in _KEYWORDS:
            del ds[element.tag]
    for keyword in _NAMED:
        digest = hashlib.sha256(str(ds[keyword].value).encode()).hexdigest()[:12]
        name = f"{RSNA_PREFIX}{digest}"
        ds[keyword] = DataElement(ds[keyword].tag, "UI", name, validation_mode=config.IGNORE)
