"""What a peer says about objects it was asked to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CommitmentResult:
    """One Storage Commitment result (PS3.4 Table J.3-2)."""

    #: Transaction UID of the request that it answers
    transaction_uid: str
    #: SOP Instance UIDs that the peer has committed to keep
    committed: frozenset[str]
    #: SOP Instance UID → Failure Reason (0008,1197) of those that it has not
    failed: Mapping[str, int]
