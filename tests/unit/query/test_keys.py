"""Reading of questions that other systems ask."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dsutils import encode

from ich_triage.dicom.private import CREATOR, Private
from ich_triage.errors import HeaderError
from ich_triage.query.keys import Key, read_keys, value_of


def _sent(ds: Dataset, *, implicit: bool = False) -> Dataset:
    """What arrives of a data set, none of it converted yet."""
    raw = encode(ds, implicit, True)
    assert raw is not None
    return read_dataset(BytesIO(raw), implicit, True)


def _by_tag(keys: tuple[Key, ...]) -> dict[int, Key]:
    return {int(key.tag): key for key in keys}


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("block", [0x10, 0x42])
def test_our_private_keys_wherever_the_peer_reserves_them(implicit: bool, block: int) -> None:
    """A peer that puts our creator into another block asks for the same; another creator's are not ours."""
    ds = Dataset()
    ds.add_new((0x0099, block), "LO", CREATOR)
    ds.add_new((0x0099, block << 8 | Private.TRIAGE_STATE), "CS", "FLAGGED")
    ds.add_new((0x0099, 0x0077), "LO", "SOMEBODY")
    ds.add_new((0x0099, 0x7701), "LO", "x")
    keys = _by_tag(read_keys(_sent(ds, implicit=implicit)))
    assert keys[Private.TRIAGE_STATE.tag].text == "FLAGGED"
    assert keys[Private.TRIAGE_STATE.tag].vr == "CS"
    assert set(keys) == {int(Private.TRIAGE_STATE.tag), 0x00997701}


def test_names_in_code_extensions_are_decoded() -> None:
    """A Japanese name in three groups, as PS3.5 Annex H has it."""
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Yamada^Tarou=山田^太郎"
    (key,) = read_keys(_sent(ds))
    assert key.text == "Yamada^Tarou=山田^太郎"


def test_keys_in_a_sequence() -> None:
    """One item holds keys, none asks for all, two are refused."""
    item, ds = Dataset(), Dataset()
    item.CodeValue = "1"
    ds.ScheduledWorkitemCodeSequence = [item]
    ds.ReferencedRequestSequence = []
    keys = {key.vr: key for key in read_keys(_sent(ds)) if key.item}
    assert [key.text for key in keys["SQ"].item] == ["1"]
    ds.ScheduledWorkitemCodeSequence = [item, Dataset()]
    with pytest.raises(HeaderError, match="more than one item"):
        read_keys(_sent(ds))


def test_sequences_without_end_are_refused() -> None:
    """A question may not make us follow it down a thousand levels."""
    ds = Dataset()
    for _ in range(50):
        outer = Dataset()
        outer.ReferencedRequestSequence = [ds]
        ds = outer
    with pytest.raises(HeaderError, match="nested"):
        read_keys(_sent(ds))


def test_what_is_cut_off_or_too_long_is_refused() -> None:
    """A list of UIDs that is not whole would be answered with less than was asked for."""
    ds = Dataset()
    ds.StudyInstanceUID = ["1.2.3"] * 20_000
    with pytest.raises(HeaderError, match="too long"):
        read_keys(_sent(ds, implicit=True))
    cut = encode(_patient("P1"), True, True) or b""
    with pytest.raises(HeaderError, match="cut off"):
        read_keys(read_dataset(BytesIO(cut[:-1]), True, True))


def _patient(patient_id: str) -> Dataset:
    ds = Dataset()
    ds.PatientID = patient_id
    return ds


def test_control_characters_are_left_out() -> None:
    """What a value holds beside characters cannot reach a pattern or a log."""
    ds = Dataset()
    ds.PatientID = "P\x001\x07 "
    assert value_of(_sent(ds), "PatientID") == "P1"
    assert value_of(_sent(ds), "PatientName") == ""
