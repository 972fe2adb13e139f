"""Where the voxels of a series lie, in the patient and in the head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .records import Acquisition


@dataclass(frozen=True, kw_only=True)
class SliceGrid:
    """Affine geometry of a series; index order (slice, row, column), patient frame LPS, mm."""

    #: number of slices
    slices: int
    #: rows and columns of the stored image
    matrix: int
    #: spacing along the normal, between rows, between columns, mm
    spacing: tuple[float, float, float]
    #: ImageOrientationPatient
    orientation: tuple[float, float, float, float, float, float]
    #: position of the first voxel of the first slice, LPS, mm
    origin: np.ndarray
    #: step between slices, LPS, mm (along the table, so oblique to the slices under a tilted gantry)
    step: np.ndarray
    #: rotation from patient to head frame, (3, 3)
    to_head: np.ndarray
    #: sub-slices per slice on which anatomy is evaluated
    subslices: int
    #: slice thickness over slice spacing
    fill: float

    def positions(self) -> np.ndarray:
        """ImagePositionPatient of every slice, (Z, 3), LPS, mm."""
        return self.origin + np.arange(self.slices)[:, None] * self.step

    def window(self, working: int) -> tuple[int, int, int, int]:
        """First and last row, first and last column of ``working``² pixels that can hold the head."""
        steps = np.linspace(0, self.matrix - 1, 48)
        x, y, *_ = self._at(np.arange(self.slices) * 1.0, steps, steps)
        held: np.ndarray = np.any((x / 94.0) ** 2 + (y / 122.0) ** 2 < 1.0, axis=0)
        rows, columns = (_span(np.any(held, axis=axis), working) for axis in (1, 0))
        return (*rows, *columns)

    def points(
        self, window: tuple[int, int, int, int], *, working: int, samples: tuple[int, int], device: str
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Head-frame x, y, z and patient y of (Z * subslices, *samples) points, mm.

        The points span ``window`` from the centre of its first to that of its last pixel, so an
        ``align_corners`` interpolation maps them onto the window's pixels.
        """
        n = self.subslices
        within = ((np.arange(n) + 0.5) / n - 0.5) * self.fill
        k = (np.arange(self.slices)[:, None] + within).ravel()
        scale = (self.matrix - 1) / (working - 1)
        i = np.linspace(window[0] * scale, window[1] * scale, samples[0])
        j = np.linspace(window[2] * scale, window[3] * scale, samples[1])
        x, y, z, patient_y = (torch.from_numpy(c).to(device) for c in self._at(k, i, j))
        return x, y, z, patient_y

    def _at(self, k: np.ndarray, i: np.ndarray, j: np.ndarray) -> list[np.ndarray]:
        row, column = np.asarray(self.orientation[:3]), np.asarray(self.orientation[3:])
        axes = np.stack((self.step, column * self.spacing[1], row * self.spacing[2]))
        every = np.hstack((axes @ self.to_head.T, axes[:, 1:2]))
        start = (*(self.to_head @ self.origin), self.origin[1])
        return [
            (
                (start[c] + k * every[0, c])[:, None, None] + (i * every[1, c])[:, None] + j * every[2, c]
            ).astype(np.float32)
            for c in range(4)
        ]


def _span(held: np.ndarray, working: int) -> tuple[int, int]:
    """First and last of ``working`` pixels for the true run of ``held``, one step wider; all if none is."""
    found = np.flatnonzero(held) if held.any() else np.arange(len(held))
    last = len(held) - 1
    low, high = max(int(found[0]) - 1, 0), min(int(found[-1]) + 1, last)
    return math.floor(low / last * (working - 1)), math.ceil(high / last * (working - 1))


def rotation(pose_deg: tuple[float, float, float]) -> np.ndarray:
    """Head-to-patient rotation from turn (about z), lean (about y) and nod (about x), degrees."""
    (ct, st), (cl, sl), (cn, sn) = ((math.cos(math.radians(a)), math.sin(math.radians(a))) for a in pose_deg)
    turn = np.array([[ct, -st, 0], [st, ct, 0], [0, 0, 1]])
    lean = np.array([[cl, 0, sl], [0, 1, 0], [-sl, 0, cl]])
    nod = np.array([[1, 0, 0], [0, cn, -sn], [0, sn, cn]])
    return turn @ lean @ nod


def series_grid(scan: Acquisition, matrix: int) -> SliceGrid:
    """Grid of a series. The gantry is tilted to the head, so ``pose_deg`` is against the slice plane."""
    tilt = math.radians(scan.tilt_deg)
    row, column = np.array([1.0, 0.0, 0.0]), np.array([0.0, math.cos(tilt), -math.sin(tilt)])
    normal = np.cross(row, column)
    turn, lean, nod = scan.pose_deg
    head_to_patient = rotation((0, 0, -scan.tilt_deg)) @ rotation((turn, lean, nod))
    pixel = scan.fov_mm / matrix
    half = 0.5 * (matrix - 1) * pixel
    centre = np.array([scan.offset_mm[0], 0.0, 0.0]) + column * scan.offset_mm[1]
    step = np.array([0.0, 0.0, scan.spacing_mm / math.cos(tilt)])
    # the table moves along z: take the shear out half-way up, where the head should be centred
    middle = 0.5 * (scan.slices - 1)
    shear = step - normal * scan.spacing_mm
    first = centre + normal * scan.bottom_mm - shear * middle
    return SliceGrid(
        slices=scan.slices,
        matrix=matrix,
        spacing=(scan.spacing_mm, pixel, pixel),
        orientation=(*row.tolist(), *column.tolist()),
        origin=first - half * (row + column),
        step=step,
        to_head=head_to_patient.T,
        subslices=max(1, math.ceil(scan.thickness_mm / 2.0)),
        fill=scan.thickness_mm / scan.spacing_mm,
    )
