"""A CT image without what identifies the patient: PS3.15 Annex E, Basic Profile, Clean Descriptors Option.

Which attribute is treated how is Table E.1-1 as `dicom-anonymizer` carries it. Stricter than that table: free
text, names, dates and what is unknown go wherever they stand, listed or not, also within sequences.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

from dicomanonymizer import simpledicomanonymizer as profile
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from ..dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, uuid_uid
from ..imaging import vocabulary as words

#: edition of PS3.15 whose Table E.1-1 holds
EDITION = "2026c"
#: UIDs that DICOM itself defines: classes, syntaxes, coding schemes
_DICOM_ROOT = "1.2.840.10008."
#: something that looks like a UID within a text
_UID_IN_TEXT = re.compile(r"\d+(?:\.\d+){3,}")
#: value representations that hold words, names, dates or addresses (PS3.5 Table 6.2-1)
_TELLING = frozenset(
    {"AE", "AS", "DA", "DT", "LO", "LT", "OB", "PN", "SH", "ST", "TM", "UC", "UN", "UR", "UT"}
)
#: of these, what no person types: what an image is and how it was made
_KEPT = frozenset(
    Tag(keyword)
    for keyword in (
        "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "PatientID",
        "PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
        "ReferringPhysicianName", "CodeValue", "CodingSchemeDesignator", "CodeMeaning", "PixelData",
    )
)  # fmt: skip
#: texts that are read as words, of which only the words' meaning stays
_DESCRIPTORS = tuple(map(Tag, ("StudyDescription", "SeriesDescription", "ProtocolName", "BodyPartExamined")))
_AGENT = Tag("ContrastBolusAgent")
#: what each table of words is written as
_MEANING = {
    words.LOCALIZER: "LOCALIZER",
    words.ANGIOGRAPHY: "CTA",
    words.BONE: "BONE",
    words.PROJECTION: "MIP",
    words.OTHER_PLANE: "CORONAL",
    words.REFORMAT: "MPR",
    words.SPECTRAL: "VNC",
    words.DOSE: "DOSE REPORT",
    words.HEAD: "HEAD",
    words.PART_OF_HEAD: "ORBIT",
    words.NOT_HEAD: "CHEST",
}
#: coding schemes whose meanings are published (PS3.16 section 8); others are a site's own words
_SCHEMES = frozenset({"DCM", "SCT", "SRT", "SNM3", "UCUM", "LN", "RADLEX"})
_LOCAL = "LOCAL"
#: CID 7050 De-identification Method: Basic Application Confidentiality Profile, Clean Descriptors Option
_METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
)


class Replacement:
    """New UIDs for old ones: the same for the same throughout one export, and never again."""

    def __init__(self) -> None:
        self._namespace = uuid.uuid4()

    def uid(self, old: str) -> str:
        """The UID in the place of `old`; those that DICOM defines, and none, stay."""
        if not old or old.startswith(_DICOM_ROOT):
            return old
        return uuid_uid(uuid.uuid5(self._namespace, old))

    def everywhere(self, told: Any) -> Any:
        """A JSON document with every UID in it replaced, within texts too."""
        if isinstance(told, str):
            return _UID_IN_TEXT.sub(lambda match: self.uid(match[0]), told)
        if isinstance(told, dict):
            return {key: self.everywhere(value) for key, value in told.items()}
        if isinstance(told, list):
            return [self.everywhere(each) for each in told]
        return told


def deidentify(ds: Dataset, replacement: Replacement) -> Dataset:
    """`ds`, a CT image, changed in place: geometry and pixels stay, what identifies goes; returns it."""
    _clean(ds, replacement)
    ds.PatientIdentityRemoved = "YES"
    ds.LongitudinalTemporalInformationModified = "REMOVED"
    ds.RecognizableVisualFeatures = "YES"  # a head CT shows a face
    library = f"Table E.1-1 of {EDITION}, dicom-anonymizer {version('dicom-anonymizer')}"
    ds.DeidentificationMethod = ["PS3.15 Annex E Basic Profile, Clean Descriptors Option", library]
    ds.DeidentificationMethodCodeSequence = [_code(*each) for each in _METHODS]
    ds.file_meta = _file_meta(ds)
    ds.preamble = bytes(128)
    return ds


def meaning(text: str) -> str:
    """What a description says to the choice of the series, in words of ours: none of its own are left."""
    folded = words.fold(text)
    said = [written for pattern, written in _MEANING.items() if pattern.search(folded)]
    if words.WITHOUT_CONTRAST.search(folded):
        said.append("WITHOUT CONTRAST")
    if words.WITH_CONTRAST.search(words.WITHOUT_CONTRAST.sub(" ", folded)):
        said.append("WITH CONTRAST")
    return " ".join(said)


def _clean(ds: Dataset, replacement: Replacement) -> None:
    """One data set, and every item of every sequence in it."""
    for tag in list(ds.keys()):
        element = _readable(ds, tag)
        if element is None or tag.is_private or not dictionary_has_tag(tag) or _is_plane(tag):
            del ds[tag]
        elif tag in _DESCRIPTORS:
            element.value = meaning(_text(element))[: 64 if element.VR == "LO" else 16]
        elif tag == _AGENT:
            given = words.fold(_text(element)).strip()
            element.value = "AGENT" if given and not words.NO_AGENT.fullmatch(given) else ""
        elif element.VR == "UI":
            _replace_uids(element, replacement)
        elif element.VR == "SQ":
            _clean_sequence(ds, element, replacement)
        else:
            _apply(ds, element)
    if "CodingSchemeDesignator" in ds and ds.CodingSchemeDesignator not in _SCHEMES:
        ds.CodingSchemeDesignator, ds.CodeValue, ds.CodeMeaning = f"99{_LOCAL}", _LOCAL, _LOCAL


def _readable(ds: Dataset, tag: BaseTag) -> DataElement | None:
    """None where its value is malformed: what nobody can read, nobody can clear."""
    try:
        return ds[tag]
    except Exception:  # noqa: BLE001 - boundary to other people's bytes; the element is left out
        return None


def _apply(ds: Dataset, element: DataElement) -> None:
    """What the table says; and what is telling by its kind goes all the same."""
    tag = element.tag
    action = _actions().get((tag.group, tag.element))
    if action is not None:
        try:
            action(ds, (tag.group, tag.element))
        except NotImplementedError:  # the library knows no dummy of this kind
            del ds[tag]
        if tag in ds and element.VR in ("DA", "TM", "DT", "PN"):
            ds[tag].value = ""  # its dummies look like values
    if tag in ds and element.VR in _TELLING and tag not in _KEPT:
        del ds[tag]


def _clean_sequence(ds: Dataset, element: DataElement, replacement: Replacement) -> None:
    """A sequence that the table lists goes, unless it only refers to other images; others are cleaned."""
    action = _actions().get((element.tag.group, element.tag.element))
    if action not in (None, profile.keep, profile.delete_or_empty_or_replace_UID):
        del ds[element.tag]
        return
    for item in element.value:
        _clean(item, replacement)


def _replace_uids(element: DataElement, replacement: Replacement) -> None:
    old = element.value
    element.value = (
        replacement.uid(str(old)) if isinstance(old, str) else [replacement.uid(str(u)) for u in old or ()]
    )


def _is_plane(tag: BaseTag) -> bool:
    """Curves and overlays (groups 50xx and 60xx): drawn or written over the picture."""
    return tag.group & 0xFF00 in (0x5000, 0x6000)


def _text(element: DataElement) -> str:
    return " ".join(map(str, element.value)) if element.VM > 1 else str(element.value or "")


@cache
def _actions() -> dict[tuple[int, ...], Callable[[Dataset, tuple[int, int]], None]]:
    """(group, element) → what is done to it."""
    found: dict[tuple[int, ...], Callable[[Dataset, tuple[int, int]], None]] = profile.initialize_actions(
        f"dicomfields_{EDITION}"
    )
    return found


def _code(value: str, means: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", means
    return code


def _file_meta(ds: Dataset) -> FileMetaDataset:
    """Nothing of the old one but the transfer syntax: it names who sent the file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
