"""Masks on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ich_triage.outputs.masks import MaskFiles
from ich_triage.storage.folder import Folder


def test_masks_come_back_as_they_went(tmp_path: Path) -> None:
    """Odd sizes too, where the last byte is not full; a second attempt replaces the first."""
    files = MaskFiles(Folder(tmp_path))
    masks = np.random.default_rng(1).random((5, 3, 7, 11)) > 0.5
    files.save("1.2.3", 1, ~masks)
    files.save("1.2.3", 1, masks)
    back = files.load("1.2.3", 1)
    assert back.dtype == np.bool_
    assert np.array_equal(back, masks)
    assert [path.name for path in (tmp_path / "masks" / "1.2.3").iterdir()] == ["1.npz"]
