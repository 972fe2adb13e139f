"""The secondary capture around the page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite

from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.states import StudyState
from ich_triage.outputs.capture import build_capture
from ich_triage.outputs.report import Report
from tests.reports import PACKAGE, made_header, made_headers, made_masks, made_volume, report_of


def written(report: Report) -> bytes:
    """The capture as the bytes of a file."""
    volume = made_volume(made_headers())
    ds = build_capture(report, made_header(), volume=volume, masks=made_masks(volume))
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def test_the_same_report_is_the_same_bytes() -> None:
    """A stage that is repeated after a crash makes byte for byte the same object."""
    report = report_of(made_headers())
    assert written(report) == written(report)


def test_what_any_viewer_needs() -> None:
    """Uncompressed RGB that decodes, derived and secondary, in the patient's study, identity left out."""
    report = report_of(made_headers())
    ds = dcmread(io.BytesIO(written(report)))
    assert ds.pixel_array.shape == (ds.Rows, ds.Columns, 3)
    assert np.ptp(ds.pixel_array) > 200
    assert (ds.BurnedInAnnotation, ds.ConversionType, list(ds.ImageType)) == (
        "NO",
        "WSD",
        ["DERIVED", "SECONDARY"],
    )
    assert ds.StudyInstanceUID == report.study_instance_uid


@pytest.mark.risk("R-012")
def test_labels_and_sources_stand_in_the_header_too() -> None:
    """Derivation Description has both labels and the model; Source Image Sequence each shown slice once."""
    ds = dcmread(io.BytesIO(written(report_of(made_headers()))))
    assert PRIORITISATION_ONLY in ds.DerivationDescription and SYNTHETIC in ds.DerivationDescription
    assert PACKAGE.weights_sha256 in ds.DerivationDescription
    shown = [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence]
    assert len(shown) == len(set(shown)) and "1.2.3.1.6" in shown


@pytest.mark.parametrize("state", [StudyState.NOT_FLAGGED, StudyState.NOT_ANALYSED])
def test_only_a_flagged_study_has_pictures(state: StudyState) -> None:
    """There is no page that could be taken for a clean bill."""
    with pytest.raises(ValueError, match="flagged"):
        written(report_of(made_headers(), state))
