"""The code table: nothing invented, nothing malformed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from ich_triage.dicom import codes

#: not in pydicom's tables: units with curly braces or of volume, TID 1500 row 12, a language (CID 5000)
KNOWN_ELSEWHERE = {"{pixels}", "mL", "C0034375", "en"}


def _codes() -> Iterator[Code]:
    for value in vars(codes).values():
        if isinstance(value, Code):
            yield value
        elif isinstance(value, dict):
            yield from (each for each in value.values() if isinstance(each, Code))


@pytest.mark.parametrize("code", sorted(set(_codes())), ids=lambda code: f"{code[1]}-{code[0]}")
def test_a_code_is_the_standards_or_declared_private(code: Code) -> None:
    """Every code of a public scheme has the standard's meaning; the rest are in our private scheme."""
    assert len(code.value) <= 16 and len(code.meaning) <= 64
    if code.scheme_designator == codes.SCHEME or code.value in KNOWN_ELSEWHERE:
        return
    meanings = [
        known[code.value][0].lower()
        for known in concepts[code.scheme_designator].values()
        if code.value in known
    ]
    assert any(meaning.startswith(code.meaning.lower()) for meaning in meanings), meanings


def test_the_private_scheme_is_marked_as_private() -> None:
    """PS3.16 section 8.2: a private scheme's designator begins with 99."""
    assert codes.SCHEME.startswith("99") and len(codes.SCHEME) <= 16


@pytest.mark.risk("R-001")
def test_no_code_says_absent() -> None:
    """There is no way to state that haemorrhage is absent."""
    assert not [code for code in _codes() if "absent" in code.meaning.lower()]
