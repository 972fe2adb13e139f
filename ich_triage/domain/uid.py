"""What passes for a UID in received objects, which are not all well made."""

from __future__ import annotations

import re

# looser than PS3.5 section 9.1 (leading zeros occur), but nothing that can climb out of a folder
_UID = re.compile(r"[0-9][0-9.]{0,63}")


def is_uid(value: str) -> bool:
    """Whether `value` is digits and dots, at most 64, and so safe as a file name."""
    return bool(_UID.fullmatch(value))
