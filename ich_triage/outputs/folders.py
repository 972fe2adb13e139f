"""Where the outbox of a study lies in the spool; without what renders into it, which is slow to load."""

from __future__ import annotations

import hashlib
import re

#: of all that was made to be sent
OUTBOX = "outbox"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def folder_name(study_instance_uid: str) -> str:
    """A UID is its own folder name; anything else that a sender put in its place is hashed."""
    if _UID.fullmatch(study_instance_uid) and len(study_instance_uid) <= 64:
        return study_instance_uid
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()
