"""The tables of what we accept."""

from __future__ import annotations

from pydicom.pixels import get_decoder
from pydicom.uid import UID

from ich_triage.dicom.contexts import CT_IMAGE_CLASSES, STORAGE_CLASSES, TRANSFER_SYNTAXES


def test_the_tables_hold_registered_uids_of_their_kind() -> None:
    """Every class is a storage class and every syntax a transfer syntax of the standard."""
    assert all(uid.type == "SOP Class" and uid.name.endswith("Storage") for uid in STORAGE_CLASSES)
    assert all(uid.is_transfer_syntax for uid in TRANSFER_SYNTAXES)
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)
    assert set(CT_IMAGE_CLASSES) <= set(STORAGE_CLASSES)


def test_every_compressed_syntax_can_be_decoded_here() -> None:
    """What is accepted can be read later: a decoder for it is installed."""
    compressed = [uid for uid in TRANSFER_SYNTAXES if UID(uid).is_encapsulated]
    assert [uid.keyword for uid in compressed if not get_decoder(uid).is_available] == []
