"""Puts a bleed of known subtype, size and place into a given head CT series: real anatomy, known answer."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy import ndimage

from ich_triage.dicom.uids import named_uid
from ich_triage.domain.finding import Side, Vector3
from ich_triage.domain.labels import Subtype
from ich_triage.errors import NotAnalysedError
from ich_triage.imaging.header import read_study
from ich_triage.imaging.stacks import split
from ich_triage.imaging.volume import Volume, assemble

from . import bleeds as grow
from .generate import MASK_SHARE, MASK_SHARE_CSF, side_of
from .landmarks import Landmarks, landmarks
from .records import BleedSpec
from .shapes import coverage

#: acute clot, HU
ACUTE_HU = 64.0

_SITES = {
    Subtype.EPIDURAL: ("temporal", "parietal", "frontal"),
    Subtype.INTRAPARENCHYMAL: ("ganglionic", "lobar"),
    Subtype.INTRAVENTRICULAR: ("level",),
    Subtype.SUBARACHNOID: ("sylvian", "convexity"),
    Subtype.SUBDURAL: ("convexity",),
}


@dataclass(frozen=True, kw_only=True)
class InsertedBleed:
    """The known answer for a series that a bleed was put into; slices in order along the normal."""

    #: which of the five
    subtype: Subtype
    #: volume of the mask, mL; less than asked for where the anatomy holds no more
    volume_ml: float
    #: side of the patient
    side: Side
    #: centroid of the mask, LPS, mm
    centroid_lps: Vector3
    #: SOP Instance UID of the new image with the largest area of blood
    key_sop_instance_uid: str
    #: volume in each slice, mL, (Z,)
    slice_ml: tuple[float, ...]
    #: bleed, (Z, Y, X) bool, as stored (rows, columns)
    mask: np.ndarray
    #: new SOP Instance UIDs in the order of the slices
    sop_instance_uids: tuple[str, ...]


def insert_bleed(
    datasets: Sequence[Dataset],
    subtype: Subtype,
    volume_ml: float,
    *,
    seed: int,
    side: Side | None = None,
    hu: float = ACUTE_HU,
) -> tuple[list[Dataset], InsertedBleed]:
    """New datasets (same order, new UIDs, uncompressed, same stored representation) and what was put in.

    ``datasets`` are single-frame CT images of one head series. Pixels away from the bleed keep their
    stored values. Raises NotAnalysedError when they are not one head series with geometry, or when the
    anatomy offers no room at all.
    """
    volume = _read(datasets)
    where = landmarks(volume)
    spec = _spec(subtype, volume_ml, seed, side, hu)
    clot = _grow(spec, where)
    share = np.zeros(volume.hu.shape, np.float32)
    share[where.crop] = _share(clot, where, volume)
    mask = share >= (MASK_SHARE_CSF if subtype is Subtype.SUBARACHNOID else MASK_SHARE)
    if not mask.any():
        raise NotAnalysedError("not_a_head", "the anatomy offers no room for this bleed")
    painted = _blend(volume.hu, share, _clot_hu(clot, where, volume), seed)
    ordered = {image.sop_instance_uid: index for index, image in enumerate(volume.images)}
    new = [_renewed(ds, seed, subtype) for ds in datasets]
    for source, ds in zip(datasets, new, strict=True):
        index = ordered.get(str(source.SOPInstanceUID))
        if index is not None:
            _store(source, ds, volume.in_plane.undo(painted[index]), volume.in_plane.undo(share[index]))
    renamed = {str(a.SOPInstanceUID): str(b.SOPInstanceUID) for a, b in zip(datasets, new, strict=True)}
    uids = tuple(renamed[image.sop_instance_uid] for image in volume.images)
    return new, _answer(subtype, volume, mask, where, uids)


def _read(datasets: Sequence[Dataset]) -> Volume:
    """The volume as the service itself would read it."""
    with tempfile.TemporaryDirectory() as folder:
        for number, ds in enumerate(datasets):
            ds.save_as(Path(folder) / f"{number:05d}.dcm", enforce_file_format=True)
        headers, unreadable = read_study(sorted(Path(folder).iterdir()))
        series = split(headers)
        if unreadable or len(series) != 1:
            raise NotAnalysedError("not_a_head", "a bleed needs exactly one readable series")
        return assemble(series[0])


def _spec(subtype: Subtype, volume_ml: float, seed: int, side: Side | None, hu: float) -> BleedSpec:
    rng = np.random.default_rng([seed, 41])
    drawn = int(rng.choice([-1, 1]))
    return BleedSpec(
        subtype=subtype,
        volume_ml=volume_ml,
        hu=hu,
        side={Side.LEFT: 1, Side.RIGHT: -1}.get(side, drawn) if side else drawn,
        site=str(rng.choice(_SITES[subtype])),
        seed=2 * int(rng.integers(2**30)),
        mixed=0.1,
    )


def _grow(spec: BleedSpec, where: Landmarks) -> grow.Clot:
    rest = where.points, where.patient_y, where.voxel_ml
    if spec.subtype is Subtype.INTRAVENTRICULAR:
        return grow.intraventricular(spec, where.ventricles, *rest)
    if spec.subtype is Subtype.SUBARACHNOID:
        return grow.subarachnoid(replace(spec, hu=spec.hu - 12.0), where.csf, *rest)
    solid = {
        Subtype.EPIDURAL: grow.epidural,
        Subtype.SUBDURAL: grow.subdural,
        Subtype.INTRAPARENCHYMAL: grow.intraparenchymal,
    }
    return solid[spec.subtype](spec, where.shell, *rest)


def _share(clot: grow.Clot, where: Landmarks, volume: Volume) -> np.ndarray:
    """Share of blood in each voxel, edges a little softer than a pixel."""
    width = 2.0 * volume.pixel_spacing[0]
    share = coverage(clot.distance, width)
    if clot.spec.subtype is Subtype.INTRAVENTRICULAR:
        share = coverage(torch.maximum(clot.distance, where.ventricles - 0.5), width)
    elif clot.spec.subtype is Subtype.SUBARACHNOID:
        share = where.csf * (0.5 - clot.distance / 5.0).clamp(0.0, 1.0)
    return (share * coverage(where.inside + 0.3, width)).numpy()


def _clot_hu(clot: grow.Clot, where: Landmarks, volume: Volume) -> np.ndarray:
    hu = np.full(volume.hu.shape, clot.spec.hu, np.float32)
    hu[where.crop] = clot.hu.numpy()
    return hu


def _blend(hu: np.ndarray, share: np.ndarray, clot_hu: np.ndarray, seed: int) -> np.ndarray:
    """Blood over tissue; the blood carries noise taken from the same slice, so its grain is the scanner's."""
    out = hu.copy()
    for index in np.flatnonzero(share.any(axis=(1, 2))):
        grain = _grain(hu[index], np.random.default_rng([seed, int(index)]))
        blood = clot_hu[index] + grain
        out[index] += share[index] * (blood - out[index])
    return out


def _grain(plane: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of the flattest piece of brain in a slice, mirrored over the whole of it."""
    size = 48
    flat = ndimage.gaussian_filter(plane, 4.0)
    spread = ndimage.uniform_filter((plane - flat) ** 2, size) + ndimage.uniform_filter(
        (flat - 32.0) ** 2, size
    )
    spread[: size // 2], spread[-(size // 2) :] = np.inf, np.inf
    spread[:, : size // 2], spread[:, -(size // 2) :] = np.inf, np.inf
    y, x = np.unravel_index(int(np.argmin(spread)), spread.shape)
    piece = (plane - flat)[y - size // 2 : y + size // 2, x - size // 2 : x + size // 2]
    reach = [(0, max(0, n - size)) for n in plane.shape]
    tiled = np.pad(piece, reach, mode="symmetric")
    return np.roll(tiled, tuple(int(s) for s in rng.integers(0, size, 2)), axis=(0, 1))


def _renewed(ds: Dataset, seed: int, subtype: Subtype) -> Dataset:
    """A copy under new Study, Series and SOP Instance UIDs, derived from the old ones."""
    new = copy.deepcopy(ds)
    salt = ("inserted", str(seed), subtype.value)
    new.StudyInstanceUID = named_uid("phantom study", str(ds.StudyInstanceUID), *salt)
    new.SeriesInstanceUID = named_uid("phantom series", str(ds.SeriesInstanceUID), *salt)
    new.SOPInstanceUID = named_uid("phantom image", str(ds.SOPInstanceUID), *salt)
    new.file_meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return new


def _store(source: Dataset, ds: Dataset, hu: np.ndarray, share: np.ndarray) -> None:
    """Write HU back into the series' own representation where there is blood."""
    stored = source.pixel_array.copy()
    slope, intercept = float(source.get("RescaleSlope", 1)), float(source.get("RescaleIntercept", 0))
    low = -(2 ** (source.BitsStored - 1)) if source.PixelRepresentation else 0
    values = np.rint((hu - intercept) / slope).clip(low, low + 2**source.BitsStored - 1)
    stored[share > 0] = values[share > 0].astype(stored.dtype)
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW"
    ds["PixelData"].is_undefined_length = False


def _answer(
    subtype: Subtype, volume: Volume, mask: np.ndarray, where: Landmarks, uids: tuple[str, ...]
) -> InsertedBleed:
    dy, dx = volume.pixel_spacing
    slice_ml = mask.sum(axis=(1, 2)) * volume.slice_extents_mm() * dy * dx / 1e3
    index = np.argwhere(mask)
    weight = volume.slice_extents_mm()[index[:, 0]]
    x, y, z = (float(v) for v in np.average(volume.to_lps(index), axis=0, weights=weight))
    across = where.points[0].numpy()[mask[where.crop]]
    return InsertedBleed(
        subtype=subtype,
        volume_ml=float(slice_ml.sum()),
        side=side_of(across),
        centroid_lps=(x, y, z),
        key_sop_instance_uid=uids[int(np.argmax(mask.sum(axis=(1, 2))))],
        slice_ml=tuple(float(v) for v in slice_ml),
        mask=np.stack([volume.in_plane.undo(plane) for plane in mask]),
        sop_instance_uids=uids,
    )
