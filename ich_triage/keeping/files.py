"""Which files of the spool are about one study."""

from __future__ import annotations

from pathlib import Path

from ..outputs.folders import OUTBOX, folder_name
from ..outputs.masks import FOLDER as MASKS

STUDIES = "studies"


def received(spool: Path, study_instance_uid: str) -> list[Path]:
    """The objects that came."""
    return _below(spool / STUDIES / study_instance_uid)


def masks(spool: Path, study_instance_uid: str) -> list[Path]:
    """Where bleeds were seen."""
    return _below(spool / MASKS / study_instance_uid)


def reports(spool: Path, study_instance_uid: str) -> list[Path]:
    """What was made to be sent."""
    return _below(spool / OUTBOX / folder_name(study_instance_uid))


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
