"""From the probabilities of voxels to the mask of a bleed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: A voxel less probable than this is in no mask.
_LEAST = 0.01


def marked(probabilities: NDArray[np.float32], voxel_ml: Floats, *, min_part_ml: float) -> Bools:
    """The surest voxels of (Z, Y, X) that together have the expected volume, without specks.

    `voxel_ml` (Z,): volume of one voxel of each slice, mL. The expected volume is the sum of the voxels'
    probabilities times that: half of 10 mL of which nobody is sure is 5 mL, where a threshold makes it 10
    or nothing (docs/decisions/0014-volumes.md). Connected parts below `min_part_ml` are dropped.
    """
    expected_ml = float(probabilities.sum(axis=(1, 2), dtype=np.float64) @ voxel_ml)
    voxels = np.nonzero(probabilities >= _LEAST)
    surest = np.argsort(-probabilities[voxels], kind="stable")
    each_ml = voxel_ml[voxels[0][surest]]
    taken = surest[: np.searchsorted(np.cumsum(each_ml) - each_ml / 2, expected_ml)]  # to the nearest voxel
    mask = np.zeros(probabilities.shape, bool)
    mask[tuple(axis[taken] for axis in voxels)] = True
    return without_specks(mask, voxel_ml, min_part_ml)


def without_specks(mask: Bools, voxel_ml: Floats, min_part_ml: float) -> Bools:
    """A mask (Z, Y, X) without its connected parts below `min_part_ml`."""
    sizes, labels = parts(mask, voxel_ml)
    return np.asarray((sizes >= max(min_part_ml, 1e-9))[labels])


def parts(mask: Bools, voxel_ml: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Size of each connected part, mL, with 0 for the background, and the labels (Z, Y, X)."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3), bool))
    z, y, x = np.nonzero(labels)
    sizes = np.bincount(labels[z, y, x], weights=voxel_ml[z], minlength=count + 1)
    return np.asarray(sizes), np.asarray(labels)
