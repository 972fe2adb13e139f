"""A folder in the layout of the RSNA set: three small phantoms, one of each kind of pixels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from train.sources import phantoms
from train.sources.rsna import RsnaSource
from train.sources.scan import Scanner

#: 16-bit with padding and no bleed; 12-bit with IPH and SAH; wrapped 12-bit with IPH and IVH
SEEDS = (54078, 54079, 54080)
MATRIX = 64


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, to look at; tests that change it take `layout`."""
    folder = tmp_path_factory.mktemp("rsna")
    phantoms.write(folder, count=len(SEEDS), seed=SEEDS[0], matrix=MATRIX, workers=0)
    return folder


@pytest.fixture
def layout(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the folder."""
    shutil.copytree(drawn, tmp_path / "rsna")
    return tmp_path / "rsna"


@pytest.fixture
def scanner(tmp_path: Path) -> Scanner:
    """Reads in this process, ten files in a shard."""
    return Scanner(folder=tmp_path / "scan", workers=0, shard_files=10)


@pytest.fixture
def rsna() -> Callable[[Path], RsnaSource]:
    """The source of such a folder."""

    def make(folder: Path) -> RsnaSource:
        return RsnaSource(
            kind="rsna", name="rsna", path=folder / phantoms.IMAGES, labels=folder / phantoms.LABELS_FILE
        )

    return make
