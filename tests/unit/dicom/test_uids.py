"""UIDs: valid, repeatable, and different for different things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from ich_triage.dicom import uids


@given(st.text(max_size=64), st.integers(0, 10**6), st.text(max_size=64), st.text(max_size=16))
@pytest.mark.risk("R-018")
def test_a_derived_uid_is_valid_and_repeatable(study: str, revision: int, package: str, kind: str) -> None:
    """Whatever a sender put in place of a Study Instance UID, ours is a valid UID, and always the same."""
    first = uids.derived_uid(study, revision, package, kind, "instance")
    assert UID(first).is_valid and len(first) <= 64
    assert first == uids.derived_uid(study, revision, package, kind, "instance")


def test_each_argument_counts() -> None:
    """Study, revision, package, kind and part each make another UID."""
    made = {
        uids.derived_uid("1.2", 1, "aa", "sr", "instance"),
        uids.derived_uid("1.3", 1, "aa", "sr", "instance"),
        uids.derived_uid("1.2", 2, "aa", "sr", "instance"),
        uids.derived_uid("1.2", 1, "bb", "sr", "instance"),
        uids.derived_uid("1.2", 1, "aa", "capture", "instance"),
        uids.derived_uid("1.2", 1, "aa", "sr", "series"),
    }
    assert len(made) == 6


def test_a_fresh_uid_never_repeats() -> None:
    """A transaction gets a UID of its own."""
    assert uids.fresh_uid() != uids.fresh_uid()
