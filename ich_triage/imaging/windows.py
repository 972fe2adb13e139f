"""Display windows: HU to the unit interval (PS3.3 C.11.2.1.2), for numpy arrays and torch tensors alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ich_triage.domain.input_spec import Window

if TYPE_CHECKING:
    import numpy as np
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)


def apply(hu: Array, window: Window) -> Array:
    """Map HU of any shape linearly to [0, 1]; values outside the window saturate.

    Returns a new array of the same kind, shape and float type.
    """
    low = window.level - window.width / 2
    unit = hu * (1 / window.width)
    unit -= low / window.width
    return unit.clip(0, 1)
