"""Stored values become Hounsfield units, whatever the header did to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ich_triage.imaging.decode import read_pixels
from ich_triage.imaging.header import read_headers
from ich_triage.imaging.hounsfield import is_wrapped, to_hu

AIR = -1000.0


def _hu(path) -> np.ndarray:
    (header,) = read_headers(path)
    return to_hu(read_pixels(header), header)


def _disc(outside: int, inside: int, dtype: str = "int16") -> np.ndarray:
    y, x = np.mgrid[-32:32, -32:32] + 0.5
    return np.where(np.hypot(y, x) < 20, inside, outside).astype(dtype)


def test_slope_and_intercept(write_slice) -> None:
    """HU are slope times stored value plus intercept."""
    hu = _hu(write_slice(np.full((8, 8), 532, dtype=np.uint16), RescaleSlope=2, RescaleIntercept=-1024))
    assert hu.dtype == np.float32 and (hu == 40).all()


@pytest.mark.risk("R-015")
def test_wrapped_12_bit_round_trip(write_slice) -> None:
    """Signed values masked to 12 unsigned bits with intercept 0 come back exactly, −1000 to 3095 HU."""
    truth = np.arange(-1000, 3096).reshape(64, 64)
    path = write_slice((truth % 4096).astype(np.uint16), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(_hu(path), truth)


@pytest.mark.parametrize(
    ("change", "wrapped"),
    [
        ({}, True), ({"RescaleIntercept": -100}, True), ({"RescaleIntercept": -101}, False),
        ({"RescaleIntercept": -1024}, False), ({"PixelRepresentation": 1}, False),
        ({"BitsStored": 16, "HighBit": 15}, False),
    ],
)  # fmt: skip
@pytest.mark.risk("R-015")
def test_only_the_broken_kind_is_repaired(write_slice, change: dict[str, int], wrapped: bool) -> None:
    """Repair asks for unsigned, 12 bits and intercept of −100 or more; signed 12-bit images are valid."""
    attributes = {"BitsStored": 12, "HighBit": 11} | change
    (header,) = read_headers(write_slice(np.zeros((8, 8), dtype=np.uint16), **attributes))
    assert is_wrapped(header) is wrapped


def test_valid_signed_12_bit_is_left_alone(write_slice) -> None:
    """Signed 12-bit values with intercept 0 are HU as they stand."""
    truth = np.arange(-1000, 2000, 3).reshape(25, 40).astype(np.int16)
    np.testing.assert_array_equal(_hu(write_slice(truth, BitsStored=12, HighBit=11)), truth)


def test_named_padding_becomes_air(write_slice) -> None:
    """The padding value becomes air, also when the header writes it unsigned for signed pixels."""
    pixels = _disc(-2000, 35)
    for value in (-2000, 65536 - 2000):
        path = write_slice(pixels)
        (header,) = read_headers(path)
        hu = to_hu(read_pixels(header), replace(header, pixel_padding_value=value))
        assert hu.min() == AIR and hu[32, 32] == 35


def test_padding_range(write_slice) -> None:
    """Everything between padding value and range limit becomes air."""
    pixels = _disc(3000, 1064, "uint16")
    pixels[0, :8] = np.arange(2990, 2998)
    path = write_slice(pixels, RescaleIntercept=-1024, PixelPaddingValue=3000, PixelPaddingRangeLimit=2990)
    hu = _hu(path)
    assert hu[0, :8].tolist() == [AIR] * 8 and hu[63, 63] == AIR and hu[32, 32] == 40


@pytest.mark.risk("R-015")
def test_unnamed_padding_becomes_air(write_slice) -> None:
    """Values below anything physical are air although the header names no padding."""
    assert _hu(write_slice(_disc(-3024, 35))).min() == AIR


def test_padding_of_zero_spares_the_brain(write_slice) -> None:
    """A padding value of 0 HU clears the corners and leaves water within the field of view alone."""
    hu = _hu(write_slice(_disc(0, 0), PixelPaddingValue=0))
    assert hu[0, 0] == AIR and hu[32, 32] == 0


def test_wrapped_padding(write_slice) -> None:
    """Padding of −2000 that was masked to 12 bits would read as dense bone; it becomes air."""
    pixels = (_disc(-2000, 35).astype(int) % 4096).astype(np.uint16)
    hu = _hu(write_slice(pixels, BitsStored=12, HighBit=11, PixelPaddingValue=(-2000) % 4096))
    assert hu[0, 0] == AIR and hu[32, 32] == 35


def test_monochrome1_changes_the_display_not_the_values(write_slice) -> None:
    """MONOCHROME1 is about display (PS3.3 C.7.6.3.1.2): HU are as in MONOCHROME2."""
    pixels = _disc(-1000, 35)
    hu = _hu(write_slice(pixels, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(hu, pixels)


def test_monochrome1_with_inverted_values(write_slice) -> None:
    """Where a converter inverted the values too, air at the border shows it and they are turned back."""
    truth = _disc(-1000, 35)
    inverted = (4095 - (truth + 1024)).astype(np.uint16)
    path = write_slice(
        inverted, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11, RescaleIntercept=-1024
    )
    np.testing.assert_array_equal(_hu(path), truth)


def test_real_head(real_head) -> None:
    """In the real head air, brain and bone have the HU of air, brain and bone."""
    hu = _hu(real_head / "20.dcm")
    assert hu.min() >= -1024
    assert 15 < np.median(hu[(hu > 0) & (hu < 80)]) < 45
    assert hu.max() > 1000
