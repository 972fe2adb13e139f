"""What peers set, as the store keeps it."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from ich_triage.errors import HeaderError
from ich_triage.query.model_json import from_json, to_json


def test_there_and_back() -> None:
    """Names, numbers and sequences survive."""
    ds, item = Dataset(), Dataset()
    item.CodeMeaning = "Kopf größer"
    ds.PatientName = "Müller^Jörg"
    ds.ScheduledWorkitemCodeSequence = [item]
    ds.ProcedureStepProgress = "50"
    again = from_json(to_json(ds))
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
        to_json(ds)
