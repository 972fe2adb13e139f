"""What peers set, as the store keeps it."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from ich_triage.errors import HeaderError
from ich_triage.query.model_json import from_json, kept


def test_there_and_back() -> None:
    """Names, numbers and sequences survive."""
    ds, item = Dataset(), Dataset()
    item.CodeMeaning = "Kopf größer"
    ds.PatientName = "Müller^Jörg"
    ds.ScheduledWorkitemCodeSequence = [item]
    ds.ProcedureStepProgress = "50"
    names = ("PatientName", "ScheduledWorkitemCodeSequence", "ProcedureStepProgress")
    again = from_json(kept(ds, names))
    assert again.PatientName == "Müller^Jörg"
    assert again.ScheduledWorkitemCodeSequence[0].CodeMeaning == "Kopf größer"
    assert again.ProcedureStepProgress == 50
    assert from_json(None) == Dataset()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_could_not_be_sent_again_is_refused() -> None:
    """Before it is kept: else it would stop every later event."""
    ds = Dataset()
    ds.add_new(0x00741004, "DS", "1")
    ds[0x00741004]._value = "not a number"
    with pytest.raises(HeaderError):
        kept(ds, ["ProcedureStepProgress"])


def test_only_what_is_named_is_kept_and_nothing_private() -> None:
    """A peer's own elements have no place in our database."""
    ds, item = Dataset(), Dataset()
    item.CodeMeaning = "Read"
    item.private_block(0x0011, "SOMEBODY", create=True).add_new(1, "LO", "x")
    ds.ScheduledWorkitemCodeSequence = [item]
    ds.PatientName = "Doe^John"
    again = from_json(kept(ds, ["ScheduledWorkitemCodeSequence", "PatientID"]))
    assert [element.keyword for element in again.iterall()] == [
        "ScheduledWorkitemCodeSequence",
        "CodeMeaning",
    ]
