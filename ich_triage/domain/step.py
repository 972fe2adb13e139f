"""The procedure step "read this study", which a reader claims and ends (PS3.4 section CC.1.1)."""

from __future__ import annotations

from enum import StrEnum


class StepState(StrEnum):
    """Procedure Step State (0074,1000); the last two are final."""

    #: nobody reads it yet
    SCHEDULED = "SCHEDULED"
    #: a reader has claimed it
    IN_PROGRESS = "IN PROGRESS"
    #: read
    COMPLETED = "COMPLETED"
    #: given up, or not wanted any more
    CANCELED = "CANCELED"


FINAL_STEP_STATES = frozenset({StepState.COMPLETED, StepState.CANCELED})
