"""Patient and study attributes arrive in our objects as they left the scanner."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ich_triage.dicom.patient_study import copy_patient_study
from tests.reports import made_header

#: Specific Character Set → a name in it; the second is PS3.5 Annex H's own example
NAMES = {
    ("ISO_IR 192",): "Ёлкина^Анна<b>&amp;",
    ("", "ISO 2022 IR 87"): "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ("ISO_IR 144",): "Люкceмбypг",
    ("GB18030",): "Wang^XiaoDong=王^小东",
}


def _through_a_file(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """`ds` written and read back, as received objects are."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


def _copied(source: Dataset) -> Dataset:
    target = made_header()
    copy_patient_study(source, target)
    return _through_a_file(target)


@pytest.mark.parametrize("character_set", NAMES)
def test_names_in_any_character_set_survive(character_set: tuple[str, ...]) -> None:
    """Japanese, Russian and Chinese names, markup included, are the same bytes afterwards."""
    source = _through_a_file(
        made_header(SpecificCharacterSet=list(character_set), PatientName=NAMES[character_set])
    )
    expected = source.get_item("PatientName").value
    copied = _copied(source)
    assert copied.get_item("PatientName").value == expected
    assert str(copied.PatientName) == NAMES[character_set]


@pytest.mark.parametrize("raw", [b"\xff\xfe\x80^", b"a\\b\\c ", b"^^^^^^^^", b"x" * 200, b"odd", b""])
def test_invalid_bytes_survive(raw: bytes) -> None:
    """What is no valid name is neither refused nor mended, only padded to an even length."""
    source = made_header()
    tag = BaseTag(0x00100010)
    source._dict[tag] = RawDataElement(tag, "PN", len(raw), raw, 0, False, True)
    assert _copied(source).get_item(tag).value == raw + b" " * (len(raw) % 2)


@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_sources_encoding_does_not_matter(transfer_syntax: str) -> None:
    """Text, numbers and sequences of an implicit or big endian source are right in explicit little endian."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTHD", "99HIS", "CT Kopf"
    source = _through_a_file(
        made_header(
            PatientName="Doe^Jane",
            PatientWeight="70.5",
            PregnancyStatus=4,
            ProcedureCodeSequence=Sequence([code]),
        ),
        transfer_syntax,
    )
    copied = _copied(source)
    assert copied.PatientName == "Doe^Jane"
    assert copied.PatientWeight == 70.5
    assert copied.PregnancyStatus == 4
    assert copied.ProcedureCodeSequence[0].CodeMeaning == "CT Kopf"


def test_type_2_attributes_are_there_but_empty() -> None:
    """What the source lacks and the standard wants present is present and empty."""
    copied = _copied(_through_a_file(made_header()))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        assert keyword in copied and not copied[keyword].value


def test_empty_values_stay_empty() -> None:
    """An empty value is copied too; an attribute that is neither there nor Type 2 is not made up."""
    copied = _copied(_through_a_file(made_header(DeidentificationMethod="", StudyDescription="")))
    assert "DeidentificationMethod" in copied and not copied.DeidentificationMethod
    assert "PatientComments" not in copied
