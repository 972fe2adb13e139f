"""The six labels of the RSNA 2019 challenge, in the one order used everywhere."""

from __future__ import annotations

from enum import StrEnum


class Subtype(StrEnum):
    """The five kinds of intracranial haemorrhage."""

    #: EDH: between skull and dura
    EPIDURAL = "epidural"
    #: IPH: within the brain
    INTRAPARENCHYMAL = "intraparenchymal"
    #: IVH: within the ventricles
    INTRAVENTRICULAR = "intraventricular"
    #: SAH: in sulci and cisterns
    SUBARACHNOID = "subarachnoid"
    #: SDH: between dura and arachnoid
    SUBDURAL = "subdural"


SUBTYPES: tuple[Subtype, ...] = tuple(Subtype)

#: Column order of every probability vector: `any`, then the subtypes.
LABELS: tuple[str, ...] = ("any", *SUBTYPES)

#: What a radiologist says for short.
ABBREVIATIONS: dict[Subtype, str] = {
    Subtype.EPIDURAL: "EDH",
    Subtype.INTRAPARENCHYMAL: "IPH",
    Subtype.INTRAVENTRICULAR: "IVH",
    Subtype.SUBARACHNOID: "SAH",
    Subtype.SUBDURAL: "SDH",
}
