"""Our private data elements (PS3.5 section 7.8): what triage knows and the standard has no attribute for."""

from __future__ import annotations

from enum import IntEnum

from pydicom.datadict import add_private_dict_entries
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

GROUP = 0x0099
#: private creator, value of (0099,0010)
CREATOR = "ICH_TRIAGE"


class Private(IntEnum):
    """Last byte of each of our elements, (0099,10xx)."""

    #: state of the study, as StudyState in capitals
    TRIAGE_STATE = 0x01
    #: why it was not analysed or failed, as ReasonCode in capitals
    REASON_CODE = 0x02
    #: the same in words
    REASON = 0x03
    #: place on the reading list, 1 is read first
    READING_RANK = 0x04
    #: whether it is an urgent request: YES or NO
    URGENT = 0x05
    #: suspected subtypes, most probable first: EDH, IPH, IVH, SAH, SDH
    SUBTYPES = 0x06
    #: probability of any haemorrhage, 0 to 1
    PROBABILITY = 0x07
    #: the honest label
    LABEL = 0x08
    #: what became of a series: CHOSEN, NOT_CHOSEN or UNKNOWN
    SERIES_ROLE = 0x10
    #: why it was chosen, or was not
    SERIES_REASON = 0x11

    @property
    def tag(self) -> BaseTag:
        """The whole tag, in the block that we use."""
        return BaseTag(GROUP << 16 | 0x1000 | self)


#: element → (value representation, value multiplicity, name), as pydicom's dictionary has them
ELEMENTS: dict[Private, tuple[str, str, str]] = {
    Private.TRIAGE_STATE: ("CS", "1", "Triage State"),
    Private.REASON_CODE: ("LO", "1", "Triage Reason Code"),
    Private.REASON: ("LT", "1", "Triage Reason"),
    Private.READING_RANK: ("IS", "1", "Reading Rank"),
    Private.URGENT: ("CS", "1", "Urgent Request"),
    Private.SUBTYPES: ("CS", "1-n", "Suspected Hemorrhage Subtypes"),
    Private.PROBABILITY: ("DS", "1", "Probability of Intracranial Hemorrhage"),
    Private.LABEL: ("LT", "1", "Triage Label"),
    Private.SERIES_ROLE: ("CS", "1", "Series Role"),
    Private.SERIES_REASON: ("LT", "1", "Series Role Reason"),
}

add_private_dict_entries(
    CREATOR,
    {GROUP << 16 | 0x1000 | element: (*entry, "", element.name) for element, entry in ELEMENTS.items()},  # type: ignore[misc]
)


def put(ds: Dataset, element: Private, value: object) -> None:
    """Set one of our elements, its block reserved."""
    ds.private_block(GROUP, CREATOR, create=True).add_new(element, ELEMENTS[element][0], value)
