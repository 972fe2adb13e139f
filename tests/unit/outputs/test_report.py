"""A report cannot say what is not so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.states import OutputKind, StudyState
from tests.reports import analysis_of, made_headers, report_of


def test_state_and_analysis_must_agree() -> None:
    """No flag without an analysis, none in a study that was not analysed, no state that is not final."""
    headers = made_headers()
    flagged, silent = report_of(headers), report_of(headers, StudyState.NOT_ANALYSED)
    with pytest.raises(ValueError, match="contradict"):
        replace(flagged, analysis=None)
    with pytest.raises(ValueError, match="contradict"):
        replace(silent, analysis=analysis_of(headers))
    with pytest.raises(ValueError, match="contradict"):
        replace(flagged, state=StudyState.NOT_FLAGGED)
    with pytest.raises(ValueError, match="final"):
        replace(silent, state=StudyState.RECEIVING)
    with pytest.raises(ValueError, match="naive"):
        replace(silent, created_at=silent.created_at.replace(tzinfo=None))


@pytest.mark.risk("R-001")
def test_every_report_carries_the_honest_label() -> None:
    """The label always; the synthetic stamp when the package that answered is synthetic."""
    headers = made_headers()
    assert report_of(headers).labels == (PRIORITISATION_ONLY, SYNTHETIC)
    assert report_of(headers, StudyState.FAILED).labels == (PRIORITISATION_ONLY,)


def test_the_next_revision_has_other_uids() -> None:
    """Each revision's objects have UIDs and series of their own."""
    first = report_of(made_headers())
    second = replace(first, revision=2)
    assert first.uid(OutputKind.SR, "instance") != second.uid(OutputKind.SR, "instance")
    assert first.document.series_instance_uid != second.document.series_instance_uid
    assert first.uid(OutputKind.SR, "instance") != first.uid(OutputKind.CAPTURE, "instance")
