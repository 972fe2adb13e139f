"""Which stacks of a study can be analysed, and which of those suits best, as two tables.

`EXCLUSIONS` is read from the top; the first rule that applies gives a stack its reason. `PREFERENCES`
orders what is left. Thresholds without a source are engineering estimates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.uid import UID

from ich_triage.domain.states import ReasonCode

from . import vocabulary as words
from .kernels import Sharpness, sharpness
from .stacks import Series

#: Gantries tilt up to 30 degrees, and a head is reformatted along its own base line.
_AXIAL_WITHIN_COS = 0.766  # 40 degrees
MIN_SLICES = 10
#: Along the slice normal, mm: enough to hold most of a brain, foramen magnum to vertex being 130 to 150.
MIN_COVERAGE_MM = 80.0
#: A head and all of its neck; whole-body scans are longer, mm.
MAX_COVERAGE_MM = 330.0
#: Reconstructed fields smaller than this leave part of a head out (ear, sinus, tooth), mm.
MIN_FIELD_MM = 150.0
#: Voxels that a volume may have: 1,024 images of 512².
MAX_VOXELS = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """A reason for which a stack cannot be analysed."""

    #: what is reported
    code: ReasonCode
    #: standard, paper or practice it rests on
    source: str
    #: the reason in words when the rule applies, else None
    explain: Callable[[Series], str | None]


@dataclass(frozen=True, kw_only=True)
class Preference:
    """What makes one analysable stack better than another."""

    #: reported of the stack that loses by it
    code: ReasonCode
    #: lower is better
    key: Callable[[Series], float]
    #: the reason in words, of the loser
    explain: Callable[[Series], str]


def _description(stack: Series) -> str:
    return words.fold(stack.description)


def _image_type(stack: Series) -> str:
    return words.fold(" ".join(stack.first.image_type))


def _not_ct(stack: Series) -> str | None:
    if stack.first.is_ct_image and stack.first.modality in ("CT", ""):
        return None
    return f"no CT images but {UID(stack.first.sop_class_uid).name}"


def _localizer(stack: Series) -> str | None:
    if "LOCALIZER" in stack.first.image_type:
        return "localizer by its image type"
    return "localizer by its description" if words.LOCALIZER.search(_description(stack)) else None


def _not_an_image_plane(stack: Series) -> str | None:
    if stack.first.samples_per_pixel != 1:
        return "colour picture, not CT numbers"
    text = _image_type(stack) + _description(stack)
    if words.PROJECTION.search(text):
        return "projection, rendering or screen picture (MIP, VRT …)"
    if words.SPECTRAL.search(text):
        return "spectral or material map, not CT at one tube voltage"
    return "dose or protocol page" if words.DOSE.search(text) else None


def _angiography(stack: Series) -> str | None:
    if words.ANGIOGRAPHY.search(_description(stack) + _image_type(stack)):
        return "CT angiography or perfusion by its description"
    return None


def _contrast(stack: Series) -> str | None:
    agent = words.fold(stack.first.contrast_bolus_agent).strip()
    if agent and not (words.NO_AGENT.fullmatch(agent) or words.WITHOUT_CONTRAST.fullmatch(agent)):
        return "contrast agent stated in the header"
    remaining = words.WITHOUT_CONTRAST.sub(" ", _description(stack))
    return "contrast by its description" if words.WITH_CONTRAST.search(remaining) else None


def _no_geometry(stack: Series) -> str | None:
    return None if stack.has_geometry else "position, orientation or pixel spacing missing or malformed"


def _not_axial(stack: Series) -> str | None:
    if stack.normal[2] < _AXIAL_WITHIN_COS:
        return "not axial by its orientation"
    return "not axial by its description" if words.OTHER_PLANE.search(_description(stack)) else None


def _dynamic(stack: Series) -> str | None:
    return f"dynamic series, {stack.phases} images at the same position" if stack.phases > 2 else None


def _secondary(stack: Series) -> str | None:
    derived = {"DERIVED", "SECONDARY"} & set(stack.first.image_type[:2])
    known = "AXIAL" in stack.first.image_type or is_reformat(stack)
    return "derived images of unknown kind" if derived and not known else None


def is_reformat(stack: Series) -> bool:
    """Whether the images were averaged or resampled from thinner ones, in the axial plane."""
    return bool(words.REFORMAT.search(_image_type(stack) + _description(stack)))


def _bone_kernel(stack: Series) -> str | None:
    kernel = stack.first.convolution_kernel
    known = sharpness(kernel)
    if known is Sharpness.SHARP:
        return f"sharp kernel {kernel}"
    if known is Sharpness.UNKNOWN and words.BONE.search(_description(stack)):
        return "bone reconstruction by its description"
    return None


def is_named_head(stack: Series) -> bool:
    """Whether body part or any description says head."""
    first = stack.first
    texts = (first.body_part_examined, first.series_description, first.study_description, first.protocol_name)
    return any(words.HEAD.search(words.fold(text)) for text in texts)


def _other_body_part(stack: Series) -> str | None:
    first = stack.first
    own = words.fold(first.series_description)
    whole = own + words.fold(first.study_description) + words.fold(first.protocol_name)
    head_in_own, head_in_whole = words.HEAD.search(own), words.HEAD.search(whole)
    if words.NOT_HEAD.search(own) and not head_in_own:
        return "another body part by its description"
    if words.PART_OF_HEAD.search(whole) and not (head_in_own or head_in_whole):
        return "part of the head only, by its description"
    if not is_named_head(stack) and words.NOT_HEAD.search(whole + words.fold(first.body_part_examined)):
        return "another body part by its header"
    return None


def _other_size(stack: Series) -> str | None:
    first = stack.first
    dy, dx = first.pixel_spacing or (0.0, 0.0)
    if min(dy * first.rows, dx * first.columns) < MIN_FIELD_MM:
        return f"field of view of {min(dy * first.rows, dx * first.columns):.0f} mm is smaller than a head"
    if stack.coverage_mm > MAX_COVERAGE_MM:
        return f"{stack.coverage_mm:.0f} mm long, longer than head and neck"
    if len(stack.headers) * first.rows * first.columns > MAX_VOXELS:
        return (
            f"{len(stack.headers)} images of {first.columns} × {first.rows} are more than a head series has"
        )
    return None


def _too_few(stack: Series) -> str | None:
    if len(stack.headers) < MIN_SLICES:
        return f"{len(stack.headers)} images, fewer than {MIN_SLICES}"
    if stack.coverage_mm < MIN_COVERAGE_MM:
        return f"covers {stack.coverage_mm:.0f} mm, less than {MIN_COVERAGE_MM:.0f}"
    return None


def _gaps(stack: Series) -> str | None:
    if not stack.gaps:
        return None
    widest = max(gap.end_mm - gap.start_mm for gap in stack.gaps)
    return f"slices missing at {len(stack.gaps)} place(s), the widest {widest:.1f} mm"


EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(code=ReasonCode.NO_CT_IMAGES, source="PS3.4 Table B.5-1", explain=_not_ct),
    Exclusion(code=ReasonCode.LOCALIZER, source="PS3.3 C.8.2.1.1.1, Image Type value 3", explain=_localizer),
    Exclusion(
        code=ReasonCode.NOT_AXIAL_ORIGINAL,
        source="PS3.3 C.8.16.1.3, C.8.15.3.1; vendors' Image Type value 4",
        explain=_not_an_image_plane,
    ),
    Exclusion(code=ReasonCode.ANGIOGRAPHY, source="descriptions in use", explain=_angiography),
    Exclusion(code=ReasonCode.CONTRAST, source="PS3.3 C.7.6.4 and C.7.6.4b", explain=_contrast),
    Exclusion(code=ReasonCode.NO_GEOMETRY, source="PS3.3 C.7.6.2, Type 1 attributes", explain=_no_geometry),
    Exclusion(code=ReasonCode.NOT_AXIAL_ORIGINAL, source="PS3.3 C.7.6.2.1.1", explain=_not_axial),
    Exclusion(
        code=ReasonCode.ANGIOGRAPHY, source="perfusion and bolus tracking repeat places", explain=_dynamic
    ),
    Exclusion(code=ReasonCode.NOT_AXIAL_ORIGINAL, source="PS3.3 C.7.6.1.1.2", explain=_secondary),
    Exclusion(code=ReasonCode.BONE_KERNEL, source="kernels.py", explain=_bone_kernel),
    Exclusion(
        # Body Part Examined is wrong in 15% of images (Gueld et al., SPIE 4685, 2002), so any
        # description that says head outweighs it.
        code=ReasonCode.NOT_A_HEAD,
        source="PS3.16 Annex L; Gueld et al. 2002",
        explain=_other_body_part,
    ),
    Exclusion(code=ReasonCode.NOT_A_HEAD, source="estimate", explain=_other_size),
    Exclusion(code=ReasonCode.TOO_FEW_SLICES, source="estimate", explain=_too_few),
    Exclusion(code=ReasonCode.GAPS, source="domain/completeness.py", explain=_gaps),
)


def _thickness_class(stack: Series) -> float:
    """0 for the usual 5 mm, 1 for 2 to 3.5 mm, 2 for thin, 3 for thicker than any bleed should be seen at."""
    bounds = ((3.5, 7.5, 0), (2.0, 3.5, 1), (0.0, 2.0, 2))
    return next((rank for low, high, rank in bounds if low <= stack.thickness_mm < high), 3)


PREFERENCES: tuple[Preference, ...] = (
    Preference(
        code=ReasonCode.NOT_AXIAL_ORIGINAL,
        key=is_reformat,
        explain=lambda stack: "reformat, while an original reconstruction is there",
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=lambda stack: stack.coverage_mm < 110,
        explain=lambda stack: f"covers only {stack.coverage_mm:.0f} mm",
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=lambda stack: sharpness(stack.first.convolution_kernel) is not Sharpness.SOFT,
        explain=lambda stack: "kernel not known to be a soft one",
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=lambda stack: not is_named_head(stack),
        explain=lambda stack: "not named a head",
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=_thickness_class,
        explain=lambda stack: (
            f"slices of {stack.thickness_mm:.2g} mm: those near 5 mm have less noise and are fewer"
        ),
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=lambda stack: -round(stack.coverage_mm / 10),
        explain=lambda stack: f"covers {stack.coverage_mm:.0f} mm, less than the other",
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=lambda stack: -max(header.acquisition_number or 0 for header in stack.headers),
        explain=lambda stack: "an earlier scan, repeated since",
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=lambda stack: abs(stack.thickness_mm - 5),
        explain=lambda stack: f"slices of {stack.thickness_mm:.2g} mm, further from 5 mm",
    ),
    Preference(
        code=ReasonCode.BETTER_SERIES,
        key=lambda stack: stack.first.series_number or 0,
        explain=lambda stack: "another reconstruction of the same, later in the study",
    ),
)
