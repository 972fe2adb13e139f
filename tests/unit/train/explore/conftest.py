"""Two small sources of pictures: one with labels, in 8 and 16 bits, and one of which nothing is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ich_triage.domain.labels import LABELS
from train import metadata
from train.sources.config import Sources, load
from train.sources.scan import KEY_FILE

#: Patients with slice labels: odd ones bleed in the middle slice.
PATIENTS = 10


def _head(number: int, bleeds: bool) -> np.ndarray:
    """A disc of brain of its own grey, in some a bright spot, (24, 24) in 0..1."""
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    unit = np.where(np.hypot(y, x) < 0.8, 0.3 + 0.2 * np.abs(x) + 0.01 * number, 0)
    return np.where((np.hypot(y, x - 0.3) < 0.2) & bleeds, 0.9, unit)


def _write(folder: Path, patients: int, *, known: bool) -> None:
    folder.mkdir()
    lines = ["file,patient,slice," + ",".join(LABELS)]
    for patient in range(patients):
        bits = 8 if patient % 3 else 16
        for number in range(3):
            bleeds = bool(patient % 2 and number == 1)
            grey = np.rint(_head(number, bleeds) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
            Image.fromarray(grey).save(folder / f"{patient}-{number}.png")
            values = [str(int(bleeds and label in ("any", "subdural"))) if known else "" for label in LABELS]
            lines.append(f"{patient}-{number}.png,secret{patient},{number}," + ",".join(values))
    (folder / "labels.csv").write_text("\n".join(lines))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, the list of sources, and their tables in `data`."""
    root = tmp_path_factory.mktemp("explore")
    _write(root / "known", PATIENTS, known=True)
    _write(root / "silent", 2, known=False)
    with (root / "known" / "labels.csv").open("a") as file:
        file.write("\nlost.png,secret99,1,0,0,0,0,0,0")
    entry = '[[sources]]\nkind = "pictures"\nname = "{0}"\npath = "{1}/{0}"\nlabels = "{1}/{0}/labels.csv"\n'
    window = "level = 40\nwidth = 80\n"
    (root / "sources.toml").write_text("".join(entry.format(n, root) + window for n in ("known", "silent")))
    key = root / "data" / KEY_FILE
    key.parent.mkdir(parents=True)
    key.write_bytes(b"always the same, since the UIDs of pictures and so the splits follow from it")
    list(metadata.build(load(root / "sources.toml"), root / "data", workers=0))
    return root


@pytest.fixture
def sources(folder: Path) -> Sources:
    """Both."""
    return load(folder / "sources.toml")


@pytest.fixture
def rows(folder: Path, sources: Sources) -> pd.DataFrame:
    """The table of both."""
    return metadata.read(sources, folder / "data")
