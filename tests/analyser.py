"""An analyser without a network, for tests of everything around it: dense voxels in the brain are blood."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ich_triage.domain.finding import Analysis, Finding, PackageIdentity, Side, SliceScore
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.imaging.head import Head
from ich_triage.imaging.volume import Volume

IDENTITY = PackageIdentity(name="threshold", version="1", weights_sha256="cd" * 32, synthetic=True)
#: HU that count as blood
DENSE_HU = (60, 90)
_MIN_VOXELS = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What `inference.analyse.AnalysisResult` holds."""

    analysis: Analysis
    masks: NDArray[np.bool_]
    fingerprint: str = IDENTITY.weights_sha256


class ThresholdAnalyser:
    """Same pixels, same answer.

    While the file `hold` exists it waits; a study whose first voxel has `kills_at` HU kills the process,
    as a bug in a library would; one with `breaks_at` raises. Each study takes `eats_mb` of memory for a
    moment. The file `loses_device` stands for a device that fails once.
    """

    identity = IDENTITY
    fingerprint = IDENTITY.weights_sha256

    def __init__(
        self,
        *,
        hold: Path | None = None,
        kills_at: int | None = None,
        breaks_at: int | None = None,
        eats_mb: int = 0,
        loses_device: Path | None = None,
    ) -> None:
        self._hold = hold
        self._eats_mb = eats_mb
        self._loses_device = loses_device
        self._breaks_at = breaks_at
        self._kills_at = kills_at

    def analyse(self, volume: Volume, *, head: Head) -> Answer:
        """Flagged when enough voxels are dense."""
        while self._hold is not None and self._hold.exists():
            time.sleep(0.02)
        mark = round(float(volume.hu[0, 0, 0]))
        if mark == self._kills_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if mark == self._breaks_at:
            raise FloatingPointError("Doe^Jane")
        if self._loses_device is not None and self._loses_device.exists():
            self._loses_device.unlink()
            _lose_device()
        if self._eats_mb:
            meal = np.empty(self._eats_mb * 1_000_000, np.uint8)  # address space alone, never touched
            time.sleep(0.5)
            del meal
        masks = np.zeros((len(SUBTYPES), *volume.hu.shape), bool)
        blood = (volume.hu >= DENSE_HU[0]) & (volume.hu <= DENSE_HU[1]) & head.full(head.brain)
        index = SUBTYPES.index(Subtype.INTRAPARENCHYMAL)
        masks[index] = blood
        flagged = int(blood.sum()) >= _MIN_VOXELS
        p = 0.9 if flagged else 0.1
        probabilities = (p, *(p if k == index else 0.01 for k in range(len(SUBTYPES))))
        analysis = Analysis(
            package=IDENTITY,
            operating_point="balanced",
            threshold=0.5,
            probabilities=probabilities,
            flagged=flagged,
            slices=tuple(
                SliceScore(image=image, position_mm=float(place), probabilities=probabilities)
                for image, place in zip(volume.images, volume.positions_mm, strict=True)
            ),
            findings=(_finding(volume, blood, p),) if flagged else (),
        )
        return Answer(analysis=analysis, masks=masks)


def _lose_device() -> None:
    """What an engine on CUDA does when torch raises this, in torch's words."""
    import torch  # takes seconds, which the other processes of tests need not wait

    from ich_triage.inference.engine import in_batches

    def forward(_: torch.Tensor) -> NoReturn:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    in_batches(forward, torch.zeros(1), 1)


def _finding(volume: Volume, blood: NDArray[np.bool_], probability: float) -> Finding:
    slices = np.flatnonzero(blood.any(axis=(1, 2)))
    return Finding(
        subtype=Subtype.INTRAPARENCHYMAL,
        probability=probability,
        volume_ml=float(blood.sum()) * 0.1,
        volume_interval_ml=(0.0, float(blood.sum())),
        abc2_ml=1.0,
        side=Side.LEFT,
        centroid_lps=(30.0, 0.0, 85.0),
        key_slice=int(blood.sum(axis=(1, 2)).argmax()),
        slice_range=(int(slices[0]), int(slices[-1])),
    )
