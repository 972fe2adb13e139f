"""Masks on disk: they outlive the process, so that a takeover and the heat map need no second inference."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import durable

FOLDER = "masks"


class MaskFiles:
    """One compressed file for each revision, below `<spool>/masks/`."""

    def __init__(self, spool: Path) -> None:
        self._folder = spool / FOLDER

    def save(self, study_instance_uid: str, revision: int, masks: NDArray[np.bool_]) -> None:
        """Write masks, bool (5, Z, Y, X); replaces what an earlier attempt wrote. Raises OSError."""
        content = BytesIO()
        np.savez_compressed(content, bits=np.packbits(masks), shape=np.array(masks.shape))
        durable.write(self._path(study_instance_uid, revision), content.getvalue())

    def load(self, study_instance_uid: str, revision: int) -> NDArray[np.bool_]:
        """Read masks, bool (5, Z, Y, X)."""
        with np.load(self._path(study_instance_uid, revision)) as stored:
            shape = tuple(stored["shape"])
            bits = np.unpackbits(stored["bits"], count=int(np.prod(shape)))
        return bits.reshape(shape).astype(bool)

    def _path(self, study_instance_uid: str, revision: int) -> Path:
        return self._folder / study_instance_uid / f"{revision}.npz"
