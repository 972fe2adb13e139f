"""Kernel names of every large vendor fall into the right class."""

from __future__ import annotations

import pytest

from ich_triage.imaging.kernels import Sharpness, sharpness

SOFT = "STND SOFT STD+ H30s H31f J40s\\3 Hr38h Hc40 B30f J30s Hr40 Qr40d UA UB UC EB FC21 FC23 FC26 FC64"
SHARP = "BONE BONEPLUS EDGE LUNG H60s H70h H60f Hr64h Hr60 B70f J70h\\3 U90u Br64 YC YD D FC30 FC81 FC35 FC51"


@pytest.mark.parametrize("kernel", SOFT.split())
def test_soft(kernel: str) -> None:
    """Kernels for brain and soft tissue."""
    assert sharpness(kernel) is Sharpness.SOFT


@pytest.mark.parametrize("kernel", SHARP.split())
def test_sharp(kernel: str) -> None:
    """Kernels for bone, lung and inner ear."""
    assert sharpness(kernel) is Sharpness.SHARP


@pytest.mark.parametrize("kernel", ["", "XYZZY", "12"])
def test_unknown(kernel: str) -> None:
    """A name nobody listed is unknown, not soft."""
    assert sharpness(kernel) is Sharpness.UNKNOWN
