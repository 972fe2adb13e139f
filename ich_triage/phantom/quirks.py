"""How HU are stored: by maker, and with the oddities of the RSNA 2019 set (shares as published for it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Representation:
    """A stored-value format."""

    #: BitsStored
    bits: int
    #: PixelRepresentation 1
    signed: bool
    #: RescaleIntercept
    intercept: float
    #: stored value outside the reconstruction circle; None where the circle is not cut
    padding: int | None = None
    #: stored HU modulo 4096 in unsigned pixels, intercept 0: what `fix_pxrepr` mends
    wrapped: bool = False


_MAKERS: dict[str, Representation] = {
    "GE MEDICAL SYSTEMS": Representation(bits=16, signed=True, intercept=-1024, padding=-2000),
    "SIEMENS": Representation(bits=12, signed=False, intercept=-1024),
    "Philips": Representation(bits=12, signed=False, intercept=-1024),
    "TOSHIBA": Representation(bits=16, signed=True, intercept=0),
}

#: share of the RSNA set -> representation
_RSNA: tuple[tuple[float, Representation], ...] = (
    (0.485, Representation(bits=12, signed=False, intercept=-1024)),
    (0.005, Representation(bits=12, signed=False, intercept=0, wrapped=True)),
    (0.003, Representation(bits=12, signed=True, intercept=0)),
    (0.507, Representation(bits=16, signed=True, intercept=-1024, padding=-2000)),
)


def vendor_representation(vendor: str) -> Representation:
    """How this maker's scanners commonly store CT."""
    return _MAKERS[vendor]


def draw_representation(rng: np.random.Generator) -> Representation:
    """One of the RSNA set's formats at its share."""
    shares = np.array([share for share, _ in _RSNA])
    return _RSNA[int(rng.choice(len(_RSNA), p=shares / shares.sum()))][1]


def encode(hu: np.ndarray, form: Representation) -> np.ndarray:
    """Stored values (Y, X) int16 or uint16 of ``hu`` (Y, X), rounded and clipped to what the format holds."""
    low = -(2 ** (form.bits - 1)) if form.signed else 0
    high = low + 2**form.bits - 1
    if form.wrapped:
        return (np.rint(hu).clip(-1000, 3095).astype(np.int32) % 4096).astype(np.uint16)
    stored = np.rint(hu - form.intercept).clip(low, high)
    if form.padding is not None:
        n = hu.shape[0]
        axis = (np.arange(n) - (n - 1) / 2) / (n / 2)
        stored = np.where(axis[:, None] ** 2 + axis[None, :] ** 2 > 1.0, form.padding, stored)
    return stored.astype(np.int16 if form.signed else np.uint16)


def apply_quirks(ds: Dataset) -> None:
    """Leave out and multiply attributes as the RSNA set does; such files are not clean CT images."""
    for keyword in ("SliceThickness", "InstanceNumber", "SpacingBetweenSlices", "SliceLocation"):
        if keyword in ds:
            del ds[keyword]
    ds.WindowCenter, ds.WindowWidth = ["36", "36"], ["80", "80"]
