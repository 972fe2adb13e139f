"""Which files of the spool are about one study, by their paths below it."""

from __future__ import annotations

from ..outputs.folders import OUTBOX, folder_name
from ..outputs.masks import FOLDER as MASKS
from ..storage.files import Files
from ..store import removal

STUDIES = "studies"


def received(spool: Files, study_instance_uid: str) -> list[str]:
    """The objects that came."""
    return _below(spool, f"{STUDIES}/{study_instance_uid}")


def masks(spool: Files, study_instance_uid: str) -> list[str]:
    """Where bleeds were seen."""
    return _below(spool, f"{MASKS}/{study_instance_uid}")


def reports(spool: Files, study_instance_uid: str) -> list[str]:
    """What was made to be sent."""
    return _below(spool, f"{OUTBOX}/{folder_name(study_instance_uid)}")


def is_named(named: removal.Named, path: str) -> bool:
    """Whether the database says that the file at `path`, of the study that `named` is about, is there."""
    folder = path.partition("/")[0]
    if folder == STUDIES:
        return path in named.objects
    return bool(named.objects) if folder == MASKS else named.study


def _below(spool: Files, folder: str) -> list[str]:
    return [entry.path for entry in spool.list(folder)]
