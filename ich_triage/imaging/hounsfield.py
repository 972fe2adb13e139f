"""Stored values to Hounsfield units (PS3.3 C.11.1, Modality LUT; C.8.2.1, CT Image)."""

from __future__ import annotations

import numpy as np

from .header import SliceHeader

AIR_HU = -1000.0
#: Nothing physical is less dense than air; what is lower is padding that the header does not name.
MIN_HU = -1024.0
#: Pixel padding that would read as tissue is believed only outside the reconstruction circle.
_PADDING_IS_AIR_BELOW_HU = -300.0


def to_hu(stored: np.ndarray, header: SliceHeader) -> np.ndarray:
    """Stored values (Y, X), integer, to HU (Y, X), float32.

    - Wrapped unsigned 12-bit pixels are repaired first (`_unwrap`).
    - Padding (PS3.3 C.7.5.1.1.2) becomes air, so do values below `MIN_HU`.
    - MONOCHROME1 says how to display, not what the values mean (PS3.3 C.7.6.3.1.2), so HU follow the
      rescale as ever. Some converters invert the values as well; then the frame's border reads as tissue
      where only air can be, and the values are mirrored back.
    """
    if header.photometric_interpretation == "MONOCHROME1":
        mirrored = _mirror(stored, header)
        if _border_hu(stored, header) > _PADDING_IS_AIR_BELOW_HU > _border_hu(mirrored, header):
            stored = mirrored
    padding = _padding(stored, header)
    values, intercept = stored, header.rescale_intercept
    if is_wrapped(header):
        values, intercept = _unwrap(stored), -1000.0
    hu = values.astype(np.float32)
    hu *= np.float32(header.rescale_slope)
    hu += np.float32(intercept)
    if padding is not None:
        _fill_padding(hu, padding)
    hu[hu < MIN_HU] = AIR_HU
    return hu


def is_wrapped(header: SliceHeader) -> bool:
    """Whether the pixels are 12-bit two's complement that lost its sign and its intercept.

    Only unsigned, 12 bits stored, intercept of −100 or more: signed 12-bit images with intercept 0 are
    valid as they are (2,252 slices of the RSNA 2019 challenge).
    """
    return header.pixel_representation == 0 and header.bits_stored == 12 and header.rescale_intercept >= -100


def _unwrap(stored: np.ndarray) -> np.ndarray:
    """Add 1000, modulo 4096; the intercept is then −1000 (`fix_pxrepr` of the fastai notebooks)."""
    values = stored.astype(np.int32) + 1000
    values[values >= 4096] -= 4096
    return values


def _mirror(stored: np.ndarray, header: SliceHeader) -> np.ndarray:
    """The values counted from the other end of their range, in the same representation."""
    top = -1 if header.pixel_representation else (1 << header.bits_stored) - 1
    return top - stored.astype(np.int32)


def _border_hu(stored: np.ndarray, header: SliceHeader) -> float:
    """Median of the outermost rows and columns, HU."""
    edges = np.concatenate([stored[0], stored[-1], stored[:, 0], stored[:, -1]])
    return float(np.median(edges)) * header.rescale_slope + header.rescale_intercept


def _padding(stored: np.ndarray, header: SliceHeader) -> np.ndarray | None:
    """Where pixels are padding (Y, X) bool; None when there is none.

    The value may be written signed for unsigned pixels and the reverse, so both are reduced to the bits
    stored before they are compared.
    """
    if header.pixel_padding_value is None:
        return None
    first = _as_stored(header.pixel_padding_value, header)
    limit = header.pixel_padding_range_limit
    last = first if limit is None else _as_stored(limit, header)
    mask = (stored >= min(first, last)) & (stored <= max(first, last))
    return mask if mask.any() else None


def _as_stored(value: int, header: SliceHeader) -> int:
    bits = header.bits_stored
    value &= (1 << bits) - 1
    return value - (1 << bits) if header.pixel_representation and value >> (bits - 1) else value


def _fill_padding(hu: np.ndarray, padding: np.ndarray) -> None:
    """Set padding to air in place; a padding value of 0 HU also occurs inside the head, as water."""
    if hu[padding].max() > _PADDING_IS_AIR_BELOW_HU and hu[padding].min() < 1500:
        rows, columns = hu.shape
        y = (np.arange(rows, dtype=np.float32) - (rows - 1) / 2) / (rows / 2)
        x = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) / (columns / 2)
        padding = padding & (y[:, None] ** 2 + x[None, :] ** 2 > 1)
    hu[padding] = AIR_HU
