"""Labelled studies as the network sees them: prepared once, and kept in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional as F

from ich_triage.domain.input_spec import InputSpec
from ich_triage.imaging.prepare import Prepared, prepare
from ich_triage.imaging.volume import Volume
from ich_triage.model.network import MASK_STRIDE, relative_height


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a study beyond its pixels; never an input of the network."""

    #: Study Instance UID; empty for a phantom that its seed names
    study: str = ""
    #: keyed hash of the patient's id; empty for a phantom
    patient: str = ""
    #: seed of the phantom; None for a study of a data source
    seed: int | None = None
    #: generator style of the phantom; empty for a study of a data source
    style: str = ""
    #: true volume of each subtype, mL; None where nobody measured it
    true_ml: tuple[float, ...] | None = None
    #: what each slice stands for along the normal, mm
    slice_mm: tuple[float, ...]
    #: area of one cell of the mask grid, mm²
    cell_mm2: float
    #: slice thickness, mm
    thickness_mm: float
    #: gantry tilt, degrees
    tilt_deg: float
    #: BitsStored of a study of a data source
    bits: int | None = None
    #: header fields as numbers, for the metadata-only gate; empty for training
    metadata: tuple[float, ...] = ()
    #: volume in HU bands outside the brain, mL, for the outside-the-skull gate; empty for training
    outside: tuple[float, ...] = ()
    #: what is 50 to 90 HU within the skull, mL: the baseline that counts bright voxels
    hyperdense_ml: float = 0.0


_FACTS, _SPEC = TypeAdapter(Facts), TypeAdapter(InputSpec)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One labelled study, prepared. Slices go from feet to head."""

    #: network input, (Z, C, S, S), 0..255
    x: NDArray[np.uint8]
    #: share of each mask cell that a subtype fills, (Z, 5, S/4, S/4), 0..255; (0, …) where nobody marked it
    masks: NDArray[np.uint8]
    #: slice labels in the order of `LABELS`, (Z, 6): 0, 1, or NaN where unknown
    labels: NDArray[np.float32]
    #: study labels in the order of `LABELS`, (6,): 0, 1, or NaN where unknown
    study: NDArray[np.float32]
    #: SOP Instance UID and frame of each slice, (Z,); empty for a phantom
    images: NDArray[np.str_]
    #: relative height of each slice, (Z,) in 0..1
    height: NDArray[np.float32]
    #: what else is known
    facts: Facts

    @property
    def marked(self) -> bool:
        """Whether anybody marked where the bleeds are."""
        return len(self.masks) > 0

    def save(self, path: Path) -> None:
        """Write `path` and, beside it, the input, so that a few slices can be read alone.

        `path` comes last and whole: where it is, the case is. Where it cannot be written nothing is left.
        """
        rest = {name: value for name, value in vars(self).items() if name not in {"x", "facts"}}
        partial = path.with_suffix(f".{os.getpid()}.part")
        with _nothing_half(_input_path(path), partial):
            np.save(_input_path(path), self.x)
            with partial.open("wb") as file:
                np.savez(file, facts=json.dumps(asdict(self.facts)), **rest)
            partial.rename(path)

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read what `save` wrote; the input is mapped, not read."""
        with np.load(path) as stored:
            values = {name: stored[name] for name in stored.files}
        facts = _FACTS.validate_json(str(values.pop("facts")))
        return cls(x=load_input(path), facts=facts, **values)


def load_input(path: Path) -> NDArray[np.uint8]:
    """The input alone of the case at `path`, mapped, not read."""
    found: NDArray[np.uint8] = np.load(_input_path(path), mmap_mode="r")
    return found


def spec_json(spec: InputSpec) -> bytes:
    """What the network is fed, for hashes: 40 and 40.0 are one level."""
    return _SPEC.dump_json(_SPEC.validate_python(asdict(spec)))


def image_name(sop_instance_uid: str, frame: int | None) -> str:
    """How `Case.images` names a slice."""
    return f"{sop_instance_uid} {frame or 0}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """A volume as the network sees it, and what its grid measures."""

    #: network input, (Z, C, S, S), 0..255
    x: NDArray[np.uint8]
    #: relative height of each slice, (Z,) in 0..1
    height: NDArray[np.float32]
    #: where in the volume it lies
    prepared: Prepared
    #: cells along a side of the masks
    cells: int
    #: area of one of them, mm²
    cell_mm2: float

    @classmethod
    def of(cls, volume: Volume, spec: InputSpec) -> Pixels:
        """Prepare a volume exactly as a received study is prepared."""
        prepared = prepare(volume.hu, volume.positions_mm, volume.pixel_spacing, spec)
        cells = spec.size // MASK_STRIDE
        area_mm2 = prepared.box.height * prepared.box.width * float(np.prod(volume.pixel_spacing))
        return cls(
            x=_bytes(prepared.tensor),
            height=relative_height(volume.positions_mm),
            prepared=prepared,
            cells=cells,
            cell_mm2=area_mm2 / cells**2,
        )

    def masks(self, masks: Tensor) -> NDArray[np.uint8]:
        """(5, Z, Y, X) bool to the share of each cell of the network's grid, (Z, 5, S/4, S/4), 0..255."""
        box, (rows, columns) = self.prepared.box, self.prepared.shape
        pad = (-box.left, box.left + box.width - columns, -box.top, box.top + box.height - rows)
        cropped = F.pad(masks.transpose(0, 1).float(), pad)  # a negative pad cuts
        size = (self.cells, self.cells)
        return _bytes(F.interpolate(cropped, size=size, mode="bilinear", align_corners=False, antialias=True))


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    return (values * 255).round().to(torch.uint8).numpy()


def _input_path(path: Path) -> Path:
    return path.with_suffix(".npy")


@contextmanager
def _nothing_half(*files: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        for file in files:
            file.unlink(missing_ok=True)
        raise
