"""One file of the spool, as a listing tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where it lies, and since when."""

    #: below the spool, with / between its parts
    path: str
    #: when it was written
    modified: datetime
