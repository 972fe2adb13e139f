"""Masks in the spool: they outlive the process; takeover and heat map need no second inference."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from ..storage.files import Files

FOLDER = "masks"


class MaskFiles:
    """One compressed file for each revision, below `masks/`."""

    def __init__(self, spool: Files) -> None:
        self._spool = spool

    def save(self, study_instance_uid: str, revision: int, masks: NDArray[np.bool_]) -> None:
        """Write masks, bool (5, Z, Y, X); replaces what an earlier attempt wrote. Raises OSError."""
        file = BytesIO()
        np.savez_compressed(file, bits=np.packbits(masks), shape=np.array(masks.shape))
        self._spool.write(_path(study_instance_uid, revision), file.getvalue())

    def load(self, study_instance_uid: str, revision: int) -> NDArray[np.bool_]:
        """Read masks, bool (5, Z, Y, X). Raises OSError."""
        path = _path(study_instance_uid, revision)
        self._spool.release([path])  # another attempt may have written it anew
        with np.load(self._spool.local([path])[0]) as stored:
            shape = tuple(stored["shape"])
            bits = np.unpackbits(stored["bits"], count=int(np.prod(shape)))
        return bits.reshape(shape).astype(bool)


def _path(study_instance_uid: str, revision: int) -> str:
    return f"{FOLDER}/{study_instance_uid}/{revision}.npz"
