"""Storage commitment: what is asked, and what is answered, by a peer or by us (PS3.4 Annex J)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Reason(IntEnum):
    """Failure Reason (0008,1197) of an object that is not committed to (PS3.3 section C.14.1.1)."""

    #: it could not be found out
    PROCESSING_FAILURE = 0x0110
    #: no such object is held
    NO_SUCH_INSTANCE = 0x0112
    #: an object of that UID is held, of another SOP class
    CLASS_CONFLICT = 0x0119
    #: no object of that SOP class is ever held
    CLASS_NOT_SUPPORTED = 0x0122


@dataclass(frozen=True, kw_only=True)
class CommitmentResult:
    """One Storage Commitment result (PS3.4 Table J.3-2)."""

    #: Transaction UID of the request that it answers
    transaction_uid: str
    #: SOP Instance UIDs that the peer has committed to keep
    committed: frozenset[str]
    #: SOP Instance UID → Failure Reason (0008,1197) of those that it has not
    failed: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CommitmentRequest:
    """One Storage Commitment request (PS3.4 Table J.3-1)."""

    #: Transaction UID, which the result carries, too
    transaction_uid: str
    #: (SOP Class UID, SOP Instance UID) of each object
    objects: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of one object that a peer asks us to commit to."""

    #: SOP Class UID, as the peer names it
    sop_class_uid: str
    #: SOP Instance UID
    sop_instance_uid: str
    #: why we do not commit to it; None where we do
    reason: Reason | None = None
