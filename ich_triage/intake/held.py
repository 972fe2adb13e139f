"""Which objects are held: what storage commitment is answered by (PS3.4 section J.3.3).

An object moves from the inbox to its study's folder to the index. So those three are looked at in this order,
whatever a faster way there is to begin with: one that moves meanwhile is met later, never missed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime

import structlog

from ..dicom.contexts import STORAGE_CLASSES
from ..domain.commitment import Reason, Verdict
from ..errors import HeaderError
from ..store import commitments
from ..store.commitments import Held
from ..store.database import Database
from .header import named_uid, read
from .spool import Arrival, Spool

log = structlog.get_logger(__name__)

#: folders in which nothing has moved for so long hold nothing that is on its way to the index, s
_ON_THE_WAY_S = 86_400.0

Asked = Sequence[tuple[str, str]]


def judge(spool: Spool, database: Database, asked: Asked) -> list[Verdict]:
    """Whether each (SOP Class UID, SOP Instance UID) is held. Raises SQLAlchemyError, OSError."""
    uids = {uid for _, uid in asked}
    classes = _indexed(spool, database, uids)
    if missing := uids - classes.keys():
        on_the_way = dict(_readable(_inboxed(spool, missing)))
        on_the_way |= dict(_readable(_placed(spool, missing)))
        classes |= {uid: {sop_class} for uid, sop_class in on_the_way.items()}
        classes |= _indexed(spool, database, missing - classes.keys())
    return [
        Verdict(sop_class_uid=each, sop_instance_uid=uid, reason=_reason(each, classes.get(uid)))
        for each, uid in asked
    ]


def _reason(sop_class: str, held: Collection[str] | None) -> Reason | None:
    if held is None:
        known = sop_class in STORAGE_CLASSES
        return Reason.NO_SUCH_INSTANCE if known else Reason.CLASS_NOT_SUPPORTED
    return None if sop_class in held else Reason.CLASS_CONFLICT


def _indexed(spool: Spool, database: Database, uids: Collection[str]) -> dict[str, set[str]]:
    """SOP Instance UID → the SOP classes under which the index has it, and its file is whole."""
    with database.read() as session:
        found = commitments.indexed(session, uids)
    held = {
        uid: {each.sop_class_uid for each in rows if _is_whole(spool, each)} for uid, rows in found.items()
    }
    return {uid: classes for uid, classes in held.items() if classes}


def _is_whole(spool: Spool, held: Held) -> bool:
    try:
        whole = (spool.root / held.path).stat().st_size == held.size
    except FileNotFoundError:
        whole = False
    if not whole:
        log.error("indexed_object_damaged", path=held.path)
    return whole


def _inboxed(spool: Spool, uids: Collection[str]) -> Iterator[tuple[str, Arrival]]:
    """What lies in the inbox under these UIDs, as its senders have called it."""
    for arrival in spool.inboxed():
        try:
            uid = named_uid(arrival.path)
        except FileNotFoundError:
            continue  # on its way to its study
        if uid in uids:
            yield uid, arrival


def _placed(spool: Spool, uids: Collection[str]) -> Iterator[tuple[str, Arrival]]:
    """What lies in folders of studies to which something has come of late."""
    since = time.time() - _ON_THE_WAY_S
    for folder in spool.study_folders():
        try:
            if folder.stat().st_mtime < since:
                continue
            names = os.listdir(folder)
        except FileNotFoundError:
            continue  # retention was quicker
        for uid in {name.removesuffix(".dcm") for name in names} & set(uids):
            yield uid, Arrival(path=folder / f"{uid}.dcm", received_at=datetime.now(UTC))


def _readable(found: Iterator[tuple[str, Arrival]]) -> Iterator[tuple[str, str]]:
    """SOP Instance UID and SOP Class UID of what the index will take."""
    for uid, arrival in found:
        try:
            header = read(arrival)
        except (HeaderError, FileNotFoundError):
            continue
        if header.sop_instance_uid == uid:
            yield uid, header.sop_class_uid
