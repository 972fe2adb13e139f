"""The images of a study as a reader scrolls through them: which, in what order, with which outlines."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, cast

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

from ..domain.labels import SUBTYPES
from ..errors import DicomReadError
from ..imaging.header import SliceHeader, read_study
from ..imaging.stacks import split
from ..imaging.volume import read_slice
from ..outputs.masks import MaskFiles
from ..storage.files import Files
from ..store import instances, studies
from ..store.database import Database
from ..store.tables import Revision
from ..store.worklist import Row

Json = dict[str, Any]

#: stacks whose headers and outlines are kept: what the readers of one site look at together
_KEPT = 32
#: Corners of an outline nearer than this to the straight line between their neighbours are left out, pixels.
_FINENESS = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Images in the order of the analysis, towards the head."""

    #: follows from study, revision and number of images
    name: str
    #: one for each
    headers: tuple[SliceHeader, ...]
    #: outlines of the bleeds: `slice`, `subtype`, `line` of x, y in pixels of the picture, flat
    outlines: tuple[Json, ...] = ()
    #: files of the spool that they are read from
    paths: tuple[str, ...] = ()

    def picture(self, index: int) -> tuple[NDArray[np.int16], tuple[float, float]]:
        """HU (Y, X) as `Volume.hu` has them, and distances of rows and columns, mm.

        Raises IndexError, DicomReadError.
        """
        if not 0 <= index < len(self.headers):
            raise IndexError(index)
        try:
            hu, spacing = read_slice(self.headers[index])
        except FileNotFoundError as error:
            raise DicomReadError(
                f"image {index} is not in the spool any more: load the page again"
            ) from error
        return np.clip(np.rint(hu), -32768, 32767).astype("<i2"), spacing


class Stacks:
    """Stacks of the studies that were looked at last."""

    def __init__(self, database: Database, spool: Files) -> None:
        self._database = database
        self._spool = spool
        self._masks = MaskFiles(spool)
        self._kept: OrderedDict[tuple[str, int, int], Stack] = OrderedDict()
        self._lock = Lock()

    def of(self, row: Row) -> Stack:
        """The analysed images of a study; before there is an analysis, its largest stack of images.

        Empty where no image can be read. Raises DicomReadError, ImagesRemovedError.
        """
        studies.require_images(row.study)
        key = (
            row.study.study_instance_uid,  # ids may be given again once a study is removed
            row.decided.number if row.decided else 0,
            row.study.instance_count,
        )
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None:
            self._spool.local(kept.paths)  # copies that nobody looked at for a while are gone
            return kept
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        decided = row.decided
        stack = (
            self._analysed(name, row, decided) if decided and decided.analysis else self._largest(name, row)
        )
        with self._lock:
            self._kept[key] = stack
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return stack

    def _analysed(self, name: str, row: Row, revision: Revision) -> Stack:
        analysis, selection = revision.analysis or {}, revision.selection or {}
        paths, headers = self._headers(row, (selection.get("chosen") or {}).get("series_instance_uid"))
        by_image = {(header.sop_instance_uid, header.frame_number): header for header in headers}
        images = [each["image"] for each in analysis["slices"]]
        found = [by_image.get((each["sop_instance_uid"], each["frame_number"])) for each in images]
        if None in found:
            if row.study.images_removed_at is not None:
                raise studies.images_removed(row.study)
            raise DicomReadError(
                f"an analysed image of study {row.study.study_instance_uid} is not in the spool any more"
            )
        whole = tuple(header for header in found if header is not None)
        return Stack(
            name=name, headers=whole, outlines=tuple(self._outlines(row, revision)), paths=tuple(paths)
        )

    def _largest(self, name: str, row: Row) -> Stack:
        paths, headers = self._headers(row, None)
        stacks = split(header for header in headers if header.is_ct_image)
        largest = max((each.headers for each in stacks), key=len, default=())
        return Stack(name=name, headers=largest, paths=tuple(paths))

    def _headers(self, row: Row, series: str | None) -> tuple[Sequence[str], Sequence[SliceHeader]]:
        with self._database.read() as session:
            paths = [each.path for each in instances.images(session, row.study, series)]
        return paths, read_study(self._spool.local(paths))[0]

    def _outlines(self, row: Row, revision: Revision) -> list[Json]:
        # A revision that shares an earlier one's result has no masks of its own, nor may that one.
        shared = revision.same_as
        for number in range(shared, 0, -1) if shared else (revision.number,):
            with suppress(OSError):
                return _lines(self._masks.load(row.study.study_instance_uid, number))
        return []  # of a release that kept none


def _lines(masks: NDArray[np.bool_]) -> list[Json]:
    """Around every bleed of masks (5, Z, Y, X)."""
    return [
        {"slice": int(z), "subtype": str(SUBTYPES[k]), "line": line}
        for k, z in np.argwhere(masks.any(axis=(2, 3)))
        for line in outline(masks[k, z])
    ]


def outline(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Lines around a mask (Y, X), each x, y, x, y, … in pixels, 0 at the centre of the first."""
    generator = contour_generator(z=np.pad(mask, 1).astype(np.float32), line_type=LineType.Separate)
    lines = cast("list[NDArray[np.float64]]", generator.lines(0.5))
    return [np.round(_simpler(line - 1), 1).ravel().tolist() for line in lines]


def _simpler(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the corners that hardly are any."""
    before, after = np.roll(line, 1, axis=0), np.roll(line, -1, axis=0)
    chord = after - before
    length = np.maximum(np.hypot(*chord.T), 1e-9)
    off = np.abs(chord[:, 0] * (line - before)[:, 1] - chord[:, 1] * (line - before)[:, 0]) / length
    keep = off > _FINENESS
    keep[[0, -1]] = True
    return line[keep]
