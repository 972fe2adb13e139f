"""Windows map HU to the unit interval."""

from __future__ import annotations

import numpy as np
import torch

from ich_triage.domain.input_spec import BRAIN
from ich_triage.imaging.windows import apply


def test_saturates_outside_and_is_linear_inside() -> None:
    """The brain window is 0 up to 0 HU, 1 from 80 HU on, and a half at its level."""
    hu = np.array([-1000.0, 0.0, 40.0, 60.0, 80.0, 3000.0], dtype=np.float32)
    np.testing.assert_allclose(apply(hu, BRAIN), [0, 0, 0.5, 0.75, 1, 1], atol=1e-6)


def test_arrays_and_tensors_agree_and_stay_as_they_are() -> None:
    """NumPy and torch give the same values in the same type, and the input is left alone."""
    hu = np.linspace(-200, 200, 101, dtype=np.float32)
    tensor = torch.from_numpy(hu.copy())
    unit = apply(hu, BRAIN)
    np.testing.assert_allclose(apply(tensor, BRAIN).numpy(), unit, atol=1e-6)
    assert unit.dtype == np.float32
    assert hu[0] == -200 and tensor[0] == -200
