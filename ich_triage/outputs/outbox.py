"""The outbox: objects and messages on disk before anyone is told of them, and who shall get which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from ..domain.states import OutputKind
from ..imaging.volume import Volume
from ..settings import Destination, DicomDestination, MllpDestination, WebhookDestination
from ..store.deliveries import Planned as Planned
from . import durable
from .capture import build_capture
from .folders import OUTBOX, folder_name
from .hl7 import build_oru
from .report import Report
from .sr import build_sr
from .webhook_body import build_body

log = structlog.get_logger(__name__)

SOP_CLASSES = {
    OutputKind.SR: Comprehensive3DSRStorage,
    OutputKind.CAPTURE: SecondaryCaptureImageStorage,
}


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
        objects = [
            planned for kind, build in builders.items() for planned in self._object(report, kind, build)
        ]
        return (*objects, *self._messages(report, sources[0]))

    def _object(self, report: Report, kind: OutputKind, build: Callable[[], Dataset]) -> list[Planned]:
        """One DICOM object, the same file for all who want it."""
        uid = report.uid(kind, "instance")
        path = self._write_once(report, f"{kind}_{uid}.dcm", lambda: _encoded(build()))
        return [
            Planned(
                destination=destination.name,
                kind=kind,
                sop_class_uid=SOP_CLASSES[kind],
                sop_instance_uid=uid,
                path=path,
            )
            for destination in self._wanting(report)
            if isinstance(destination, DicomDestination) and kind in destination.outputs
        ]

    def _messages(self, report: Report, source: Dataset) -> Iterator[Planned]:
        """A file for each destination that takes messages, since each message names its destination."""
        for destination in self._wanting(report):
            match destination:
                case MllpDestination():
                    kind, suffix = OutputKind.HL7, "hl7"
                    build = partial(build_oru, report, source, destination)
                case WebhookDestination():
                    kind, suffix = OutputKind.WEBHOOK, "json"
                    build = partial(build_body, report, source, destination)
                case _:
                    continue
            uid = report.message_uid(kind, destination.name)
            path = self._write_once(report, f"{kind}_{uid}.{suffix}", build)
            yield Planned(
                destination=destination.name, kind=kind, sop_class_uid="", sop_instance_uid=uid, path=path
            )

    def _wanting(self, report: Report) -> list[Destination]:
        """Who gets this report: a flagged one all; another those who want all, or who hold an earlier one."""
        return [
            each
            for each in self._destinations
            if report.flagged or each.send == "all" or each.name in report.predecessor_held_by
        ]

    def _write_once(self, report: Report, name: str, build: Callable[[], bytes]) -> str:
        """Path relative to the spool. What is there already stays as it is.

        So whatever is sent under one id is the same bytes, whoever repeats the stage.
        """
        folder = Path(OUTBOX) / folder_name(report.study_instance_uid) / str(report.revision)
        path = folder / name
        if not (self._spool / path).exists():
            durable.write(self._spool / path, build())
        return path.as_posix()


def written(spool: Path, study_instance_uid: str, revision: int | None, kind: OutputKind) -> Path | None:
    """The object of this kind that was made of a revision; None where there is none, or not any more."""
    folder = spool / OUTBOX / folder_name(study_instance_uid) / str(revision)
    return next(iter(sorted(folder.glob(f"{kind}_*.dcm"))), None)


def _encoded(ds: Dataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()
