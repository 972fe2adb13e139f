"""What is installed is the whole product."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from ich_triage.model.package import CARD, GOLDEN, MANIFEST, WEIGHTS

REPOSITORY = Path(__file__).parents[2]
#: the model package may be so large, bytes
PACKAGE_LIMIT = 16 << 20


def test_the_wheel_carries_the_model_and_the_migrations(tmp_path: Path) -> None:
    """Built as by a user, offline: the model package of at most 16 MB, and Alembic's scripts."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    embedded = "ich_triage/model/embedded/"
    assert {embedded + name for name in (WEIGHTS, MANIFEST, GOLDEN, CARD)} <= sizes.keys()
    assert sum(size for name, size in sizes.items() if name.startswith(embedded)) <= PACKAGE_LIMIT
    assert {"ich_triage/store/alembic/env.py", "ich_triage/store/alembic/versions/0001.py"} <= sizes.keys()
    assert "train/__main__.py" in sizes
    assert not [name for name in sizes if name.startswith(("tests/", "bench/"))]
