"""A small labelled set of pictures: bright marks for bleeds in grey heads, patients for every fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ich_triage.domain.labels import LABELS, SUBTYPES, Subtype
from train import metadata
from train.sources.config import load

PATIENTS, SLICES, SIDE = 30, 6, 64
#: what each third patient, and the one after it, has in the two middle slices
_BLEEDS = (None, Subtype.INTRAPARENCHYMAL, Subtype.SUBDURAL)


def tables(folder: Path, *, patients: int = PATIENTS) -> Path:
    """Draw the pictures, read them, and return the folder of the tables."""
    entry = draw(folder / "pictures", patients=patients)
    (folder / "sources.toml").write_text(f"sources = [{entry}]")
    out = folder / "data"
    list(metadata.build(load(folder / "sources.toml"), out, workers=0))
    return out


def draw(folder: Path, *, patients: int, weight: float = 1.0) -> str:
    """Draw the pictures and their labels; returns the source's entry for a list."""
    folder.mkdir(parents=True)
    lines = ["file,patient,slice," + ",".join(LABELS)]
    for patient in range(patients):
        bleed = _BLEEDS[patient % len(_BLEEDS)]
        for number in range(SLICES):
            there = bleed if number in (2, 3) else None
            Image.fromarray(_slice(there, np.random.default_rng([patient, number]))).save(
                folder / f"{patient}-{number}.png"
            )
            shown = [int(there is not None), *(int(each is there) for each in SUBTYPES)]
            lines.append(f"{patient}-{number}.png,p{patient},{number}," + ",".join(map(str, shown)))
    (folder / "labels.csv").write_text("\n".join(lines))
    return (
        f'{{ kind = "pictures", path = "{folder}", labels = "{folder / "labels.csv"}", '
        f"level = 40, width = 80, spacing_mm = 3.5, weight = {weight} }}"
    )


def _slice(bleed: Subtype | None, rng: np.random.Generator) -> np.ndarray:
    """(64, 64) uint8 in the brain window: a disk of brain in a ring of bone."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(y, x)
    hu = np.where(radius < 24, 35.0, np.where(radius < 28, 80.0, 0.0)) + rng.normal(0, 3, (SIDE, SIDE))
    if bleed is Subtype.INTRAPARENCHYMAL:
        hu[28:38, 28:38] = 65
    elif bleed is Subtype.SUBDURAL:
        hu[(radius > 20) & (radius < 24) & (x > 0)] = 65
    return np.clip(hu / 80 * 255, 0, 255).astype(np.uint8)
