"""Which objects are held: what storage commitment is answered by (PS3.4 section J.3.3).

An object moves from the inbox to its study's folder to the index. So those three are looked at in this order,
whatever a faster way there is to begin with: one that moves meanwhile is met later, never missed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

import structlog

from ..dicom.contexts import STORAGE_CLASSES
from ..domain.commitment import Reason, Verdict
from ..errors import HeaderError
from ..store import commitments
from ..store.database import Database
from .header import named_uid, read
from .spool import Arrival, Spool

log = structlog.get_logger(__name__)

Asked = Sequence[tuple[str, str]]


def judge(spool: Spool, database: Database, asked: Asked) -> list[Verdict]:
    """Whether each (SOP Class UID, SOP Instance UID) is held. Raises SQLAlchemyError, OSError."""
    uids = {uid for _, uid in asked}
    classes = _indexed(spool, database, uids)
    if missing := uids - classes.keys():
        on_the_way = dict(_inboxed(spool, missing))
        on_the_way |= dict(_placed(spool, missing - on_the_way.keys()))
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
    held = [(uid, each) for uid, rows in found.items() for each in rows]
    classes: dict[str, set[str]] = {}
    for (uid, each), size in zip(held, spool.sizes([each.path for _, each in held]), strict=True):
        if size == each.size:
            classes.setdefault(uid, set()).add(each.sop_class_uid)
        else:
            log.error("indexed_object_damaged", path=each.path)
    return classes


def _inboxed(spool: Spool, uids: Collection[str]) -> Iterator[tuple[str, str]]:
    """What lies in the inbox under these UIDs, as its senders have called it."""
    for arrival in spool.inboxed():
        with suppress(FileNotFoundError), spool.glance(arrival) as seen:  # else on its way to its study
            uid = named_uid(seen.path)
            if uid in uids:
                yield from _readable(uid, seen)


def _placed(spool: Spool, uids: Collection[str]) -> Iterator[tuple[str, str]]:
    """What lies in folders of studies to which something has come of late."""
    for uid, arrival in spool.unindexed(uids):
        yield from _readable(uid, arrival)


def _readable(uid: str, arrival: Arrival) -> Iterator[tuple[str, str]]:
    """SOP Instance UID and SOP Class UID of what the index will take."""
    with suppress(HeaderError, FileNotFoundError):
        header = read(arrival)
        if header.sop_instance_uid == uid:
            yield uid, header.sop_class_uid
