"""Figures that the phantom is drawn from, each with its source.

``FDA`` is the set of 5/50/95% quantiles that the FDA's phantom work fitted to the BHSD data set; ``RSNA``
is the label mix of the RSNA 2019 challenge. Everything else is an engineering estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from ich_triage.domain.labels import Subtype

Quantiles = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class BleedTable:
    """How one subtype is distributed."""

    #: mean HU of the bleed, 5/50/95% (FDA)
    hu: Quantiles
    #: volume, mL, 5/50/95% (FDA)
    volume_ml: Quantiles
    #: share of positive slices with this label (RSNA)
    slice_share: float


BLEEDS: dict[Subtype, BleedTable] = {
    Subtype.EPIDURAL: BleedTable(hu=(37, 56, 72), volume_ml=(1.2, 12.7, 40), slice_share=0.028),
    Subtype.INTRAPARENCHYMAL: BleedTable(hu=(33, 48, 61), volume_ml=(0.45, 7.8, 59), slice_share=0.335),
    Subtype.INTRAVENTRICULAR: BleedTable(hu=(25, 39, 55), volume_ml=(0.2, 2.5, 19), slice_share=0.245),
    Subtype.SUBARACHNOID: BleedTable(hu=(31, 43, 58), volume_ml=(0.3, 0.8, 4.6), slice_share=0.331),
    Subtype.SUBDURAL: BleedTable(hu=(27, 51, 69), volume_ml=(0.6, 5.9, 56), slice_share=0.438),
}

#: Where bleeds within the brain sit, and how often.
IPH_SITES: dict[str, float] = {"ganglionic": 0.40, "thalamic": 0.20, "lobar": 0.25, "posterior_fossa": 0.15}

#: Where epidural bleeds are centred: azimuth from the front and height, degrees.
EPIDURAL_SITES: dict[str, tuple[float, float]] = {
    "temporal": (88, 0), "frontal": (38, 12), "parietal": (118, 32), "posterior_fossa": (150, -32)
}  # fmt: skip

#: Label sets of positive studies and their weights, set to bring positive *slices* near the RSNA mix and
#: its 1.38 labels each; docs/phantom.md has what ``python -m train.gates`` measured.
LABEL_SETS: dict[tuple[Subtype, ...], float] = {
    (Subtype.SUBDURAL,): 0.080,
    (Subtype.SUBARACHNOID,): 0.095,
    (Subtype.INTRAPARENCHYMAL,): 0.030,
    (Subtype.INTRAVENTRICULAR,): 0.064,
    (Subtype.EPIDURAL,): 0.014,
    (Subtype.INTRAPARENCHYMAL, Subtype.INTRAVENTRICULAR): 0.185,
    (Subtype.SUBARACHNOID, Subtype.SUBDURAL): 0.210,
    (Subtype.INTRAPARENCHYMAL, Subtype.SUBARACHNOID): 0.050,
    (Subtype.INTRAPARENCHYMAL, Subtype.INTRAVENTRICULAR, Subtype.SUBARACHNOID): 0.140,
    (Subtype.INTRAPARENCHYMAL, Subtype.SUBARACHNOID, Subtype.SUBDURAL): 0.090,
    (Subtype.EPIDURAL, Subtype.SUBDURAL): 0.012,
    (Subtype.EPIDURAL, Subtype.SUBARACHNOID): 0.010,
    (Subtype.INTRAPARENCHYMAL, Subtype.SUBDURAL): 0.020,
}

#: Share of studies that carry a mimic, with or without a bleed: style -> mimic -> share.
MIMICS: dict[str, dict[str, float]] = {
    "a": {
        "pineal": 0.60, "choroid": 0.50, "falx": 0.15, "ganglia": 0.05, "dense_sinus": 0.05, "metal": 0.03,
        "motion": 0.05, "infarct": 0.12, "tumour": 0.04, "craniotomy": 0.03, "white_matter": 0.35,
        "carotid": 0.45, "vertebral": 0.12,
    },
    "b": {
        "pineal": 0.75, "choroid": 0.65, "falx": 0.25, "ganglia": 0.12, "dense_sinus": 0.12, "metal": 0.05,
        "motion": 0.08, "infarct": 0.18, "tumour": 0.06, "craniotomy": 0.05, "white_matter": 0.50,
        "carotid": 0.55, "vertebral": 0.20,
    },
}  # fmt: skip

#: Mimics that come with age: the share above is the mean, times this line (offset, slope) through atrophy,
#: 0 to 1. Estimates, but for the end of the line in style "a": of people of 69 years 82.2% have calcified
#: carotids within the skull (Bos, Stroke 2012;43:1878) and 21.0% calcified vertebral or basilar arteries
#: (van der Toorn, Atherosclerosis 2018).
AGEING: frozenset[str] = frozenset({"carotid", "vertebral"})
AGEING_LINE: tuple[float, float] = (0.10, 1.70)

#: Transverse sinuses: how often which side is how much narrower (Alper, Cerebrovasc Dis 2004;18:236, which
#: counts the narrow ones as hypoplastic or aplastic; the widths are estimates). Side: +1 left, -1 right.
NARROW_SINUS: dict[tuple[int, tuple[float, float]], float] = {
    (0, (0.85, 1.0)): 0.31, (1, (0.45, 0.8)): 0.39, (1, (0.25, 0.4)): 0.20,
    (-1, (0.45, 0.8)): 0.06, (-1, (0.25, 0.4)): 0.04,
}  # fmt: skip

#: Share of studies with a fracture or a scalp swelling that has nothing to do with a bleed.
TRAUMA_SHARE = 0.10
#: Share of epidural bleeds under a fracture and a swelling.
EDH_TRAUMA_SHARE = 0.60
