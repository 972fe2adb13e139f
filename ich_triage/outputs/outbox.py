"""The outbox: objects on disk before anyone is told of them, and who shall get which."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from ..domain.states import OutputKind
from ..imaging.volume import Volume
from ..settings import Destination
from ..store.deliveries import Planned as Planned
from .capture import build_capture
from .report import Report
from .sr import build_sr

log = structlog.get_logger(__name__)

FOLDER = "outbox"
SOP_CLASSES = {
    OutputKind.SR: Comprehensive3DSRStorage,
    OutputKind.CAPTURE: SecondaryCaptureImageStorage,
}
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class Outbox:
    """Renders reports below `<spool>/outbox/<study>/<revision>/`, and plans their deliveries."""

    def __init__(self, spool: Path, destinations: Sequence[Destination]) -> None:
        self._spool = spool
        self._destinations = destinations

    def render(
        self,
        report: Report,
        sources: Sequence[Dataset],
        *,
        volume: Volume | None = None,
        masks: NDArray[np.bool_] | None = None,
    ) -> tuple[Planned, ...]:
        """Write the report's objects durably; returns what each destination shall get, SR before pictures.

        `sources`: headers of the study, an analysed image first; without any there is nobody to report on
        and nothing is rendered. `volume` and `masks` (bool (5, Z, Y, X), order of SUBTYPES) make the
        pictures of a flagged study.
        """
        if not sources:
            log.warning("nothing_rendered", study=report.study_instance_uid, revision=report.revision)
            return ()
        builders: dict[OutputKind, Callable[[], Dataset]] = {
            OutputKind.SR: lambda: build_sr(report, sources[0])
        }
        if report.flagged and volume is not None and masks is not None:
            builders[OutputKind.CAPTURE] = lambda: build_capture(
                report, sources[0], volume=volume, masks=masks
            )
        return tuple(
            planned
            for kind, build in builders.items()
            for planned in self._plan(report, kind, self._write_once(report, kind, build))
        )

    def _write_once(self, report: Report, kind: OutputKind, build: Callable[[], Dataset]) -> Path:
        """Path relative to the spool. An object that is there already stays as it is.

        So whatever is sent under one SOP Instance UID is the same bytes, whoever repeats the stage.
        """
        folder = Path(FOLDER) / folder_name(report.study_instance_uid) / str(report.revision)
        path = folder / f"{kind}_{report.uid(kind, 'instance')}.dcm"
        if not (self._spool / path).exists():
            _write_durably(self._spool / path, build())
        return path

    def _plan(self, report: Report, kind: OutputKind, path: Path) -> list[Planned]:
        return [
            Planned(
                destination=destination.name,
                kind=kind,
                sop_class_uid=SOP_CLASSES[kind],
                sop_instance_uid=report.uid(kind, "instance"),
                path=path.as_posix(),
            )
            for destination in self._destinations
            if kind in destination.outputs and (report.flagged or self._wants_unflagged(report, destination))
        ]

    @staticmethod
    def _wants_unflagged(report: Report, destination: Destination) -> bool:
        """All reports, or the one that takes back a report which it was sent before."""
        return destination.send == "all" or destination.name in report.predecessor_held_by


def folder_name(study_instance_uid: str) -> str:
    """A UID is its own folder name; anything else that a sender put in its place is hashed."""
    if _UID.fullmatch(study_instance_uid) and len(study_instance_uid) <= 64:
        return study_instance_uid
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()


def _write_durably(path: Path, ds: Dataset) -> None:
    """Bytes, name and new folders are on stable storage when this returns."""
    for folder in reversed([path.parent, *path.parent.parents]):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        dcmwrite(file, ds, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
