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

    def points(self, rows: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Head-frame x, y, z and patient y of (Z * subslices, rows, rows) points, mm.

        The points span the image from the centre of its first to that of its last pixel, so an
        ``align_corners`` interpolation maps them onto any finer grid.
        """
        n = self.subslices
        within = ((torch.arange(n, device=device, dtype=torch.float32) + 0.5) / n - 0.5) * self.fill
        k = (torch.arange(self.slices, device=device)[:, None] + within).flatten()
        i = torch.linspace(0, self.matrix - 1, rows, device=device)
        row, column = np.asarray(self.orientation[:3]), np.asarray(self.orientation[3:])
        patient_axes = np.stack((self.step, column * self.spacing[1], row * self.spacing[2]))
        head_axes = patient_axes @ self.to_head.T
        start = self.to_head @ self.origin

        def along(axes: np.ndarray, offset: float) -> Tensor:
            plane = i[:, None] * float(axes[1]) + i[None, :] * float(axes[2]) + offset
            return k[:, None, None] * float(axes[0]) + plane[None]

        x, y, z = (along(head_axes[:, c], float(start[c])) for c in range(3))
        return x, y, z, along(patient_axes[:, 1], float(self.origin[1]))


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
