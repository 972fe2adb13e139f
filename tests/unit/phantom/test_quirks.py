"""Stored representations."""

from __future__ import annotations

import numpy as np
import pytest

from ich_triage.phantom.quirks import Representation, encode

HU = np.array([[-1000.0, -1.0, 0.0, 40.4], [80.0, 999.6, 2047.0, 3000.0]])


def test_wrapped_pixels_return_exactly() -> None:
    """Adding 1000, subtracting 4096 at the top and an intercept of −1000 restore wrapped HU."""
    stored = encode(HU, Representation(bits=12, signed=False, intercept=0, wrapped=True)).astype(int) + 1000
    assert stored.min() >= 0
    stored[stored >= 4096] -= 4096
    assert (stored - 1000).tolist() == np.rint(HU).astype(int).tolist()


@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, True), (12, True)])
def test_values_stay_within_their_bits(bits: int, signed: bool) -> None:
    """Nothing is stored that BitsStored cannot hold; what fits returns exactly."""
    form = Representation(bits=bits, signed=signed, intercept=-1024 if not signed else 0)
    stored = encode(HU, form).astype(int)
    low = -(2 ** (bits - 1)) if signed else 0
    assert stored.min() >= low
    assert stored.max() <= low + 2**bits - 1
    assert (stored + form.intercept)[0].tolist() == np.rint(HU[0]).tolist()


def test_padding_fills_the_corners() -> None:
    """Outside the reconstruction circle the padding value stands, inside it does not."""
    stored = encode(np.zeros((32, 32)), Representation(bits=16, signed=True, intercept=-1024, padding=-2000))
    assert stored[0, 0] == stored[-1, -1] == -2000
    assert stored[16, 16] == 1024
