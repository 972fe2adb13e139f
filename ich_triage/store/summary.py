"""What a list shows of an analysis: all but its slices, which are many, with the images of the key slices."""

from __future__ import annotations

from typing import Any

from ..domain.states import ANALYSED_STATES
from .tables import Revision

Json = dict[str, Any]


def make(analysis: Json) -> Json:
    """The summary of an analysis as `Revision.analysis` holds it."""
    slices = analysis["slices"]
    findings = [each | {"key_image": slices[each["key_slice"]]["image"]} for each in analysis["findings"]]
    return {key: value for key, value in analysis.items() if key != "slices"} | {"findings": findings}


def of(revision: Revision) -> Json | None:
    """The summary of a revision; None without an analysis.

    A revision that an earlier release has written has none yet: its analysis is read instead.
    """
    if revision.state not in ANALYSED_STATES:
        return None
    if revision.summary is None and revision.analysis is not None:
        return make(revision.analysis)
    return revision.summary
