"""Attribute matching, after PS3.4 section C.2.2.2."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from ich_triage.dicom.values import date_time
from ich_triage.query.keys import Key
from ich_triage.query.matching import bounds, glob, matches


def _key(keyword: str, text: str = "", item: tuple[Key, ...] = ()) -> Key:
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    return Key(tag=tag, vr=dictionary_VR(tag), text=text, item=item)


def _meets(keyword: str, wanted: str, have: object) -> bool:
    ds = Dataset()
    setattr(ds, keyword, have)
    return matches(_key(keyword, wanted), ds)


@pytest.mark.parametrize(
    ("keyword", "wanted", "have", "met"),
    [
        ("PatientID", "", "P1", True),
        ("PatientID", "*", "", True),
        ("PatientID", "P1", "", False),
        ("PatientID", "P1", "P12", False),
        ("PatientID", "P*2", "P12", True),
        ("PatientID", "?1", "P1", True),
        ("PatientID", "[P]1", "P1", False),
        ("StudyInstanceUID", "1.2\\1.3", "1.3", True),
        ("StudyInstanceUID", "1.*", "1.3", False),
        ("Modality", "CT\\MR", "MR", True),
        ("ModalitiesInStudy", "MR", ["CT", "MR"], True),
        ("ModalitiesInStudy", "PT", ["CT", "MR"], False),
        ("StudyDate", "20260102", "20260102", True),
        ("StudyDate", "2026.01.02", "20260102", True),
        ("StudyDate", "20260101-20260103", "20260102", True),
        ("StudyDate", "20260103-", "20260102", False),
        ("StudyDate", "-20260103", "20260102", True),
        ("StudyDate", "20260102", "", False),
        ("StudyTime", "10-11", "105959.5", True),
        ("StudyTime", "10:00-10:30", "103100", False),
        ("NumberOfStudyRelatedInstances", "7", 7, True),
        ("NumberOfStudyRelatedInstances", "8", 7, False),
        ("PatientName", "doe^john", "Doe^John", True),
        ("PatientName", "DOE^JOHN^^^", "Doe^John", True),
        ("PatientName", "doe*", "Yamada^Tarou=Doe^John", True),
        ("PatientName", "john*", "Doe^John", False),
    ],
)
def test_values(keyword: str, wanted: str, have: object, met: bool) -> None:
    """Each kind of matching covers what it should; what is unknown meets only a universal key."""
    assert _meets(keyword, wanted, have) is met


def test_moments_are_compared_as_moments() -> None:
    """A range in another zone is turned into ours; one without a zone is in ours."""
    have = date_time(datetime(2026, 1, 2, 12, 0, tzinfo=UTC))
    start = "ScheduledProcedureStepStartDateTime"
    assert _meets(start, "20260102130000+0100-20260102130001+0100", have)
    assert not _meets(start, "20260102130000-0100-", have)
    assert _meets(start, f"{have[:8]}-", have)
    assert _meets(start, have[:12], have)
    assert _meets(start, "2025-2027", have)


def test_bounds_of_what_is_no_date_hold_nothing() -> None:
    """A key that is no date or range finds nothing, rather than all."""
    first, last = bounds("DA", "yesterday")
    assert first > last


def test_an_item_must_meet_all_keys_of_a_sequence() -> None:
    """Two items that each meet one key are not one that meets both."""
    ds, one, two = Dataset(), Dataset(), Dataset()
    one.CodeValue, one.CodingSchemeDesignator = "A", "X"
    two.CodeValue, two.CodingSchemeDesignator = "B", "Y"
    ds.ScheduledWorkitemCodeSequence = [one, two]

    def asked(value: str, scheme: str) -> Key:
        item = (_key("CodeValue", value), _key("CodingSchemeDesignator", scheme))
        return _key("ScheduledWorkitemCodeSequence", item=item)

    assert matches(asked("A", "X"), ds)
    assert matches(asked("", "Y"), ds)
    assert not matches(asked("A", "Y"), ds)
    assert matches(asked("", ""), Dataset())


def test_wild_cards_cost_no_more_than_their_product() -> None:
    """A pattern made to be slow is not."""
    begun = monotonic()
    assert not glob("*a" * 500 + "b", "a" * 5000)
    assert glob("*a" * 500 + "*", "a" * 5000)
    assert monotonic() - begun < 10
