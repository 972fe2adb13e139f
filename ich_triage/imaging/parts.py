"""Does a stack lack images of its own series? A slice not looked at must not pass for a clean one."""

from __future__ import annotations

from collections.abc import Sequence

from ich_triage.domain.completeness import SAME_NORMAL_COS, SAME_POSITION_MM, THICKNESS_RATIO, along
from ich_triage.domain.states import ReasonCode

from .header import UnreadableFile
from .stacks import Series, same_orientation


def left_out(
    stack: Series, stacks: Sequence[Series], unreadable: Sequence[UnreadableFile]
) -> tuple[ReasonCode, str] | None:
    """Why `stack` does not hold all of the scan under its Series Instance UID; None when it does.

    `stacks` and `unreadable` are those of the whole study.
    """
    for whose, uid in (("this series", stack.series_instance_uid), ("an unknown series", "")):
        if lost := [file for file in unreadable if file.series_instance_uid == uid]:
            return (
                ReasonCode.UNREADABLE_HEADER,
                f"{len(lost)} image(s) of {whose} cannot be read: {lost[0].reason}",
            )
    for other in stacks:
        if other is not stack and other.series_instance_uid == stack.series_instance_uid:
            if not _may_be_a_slice(other):
                continue
            if not other.has_geometry:
                return (
                    ReasonCode.NO_GEOMETRY,
                    f"{len(other.headers)} image(s) of this series have no position or orientation",
                )
            if _is_turned(stack, other):
                return (
                    ReasonCode.GAPS,
                    f"{len(other.headers)} image(s) of this series are mirrored or turned against the others "
                    "(Image Orientation)",
                )
            if _goes_on_in(stack, other):
                return (
                    ReasonCode.GAPS,
                    f"the scan goes on in {len(other.headers)} image(s) of this series that do not fit it "
                    "(other kernel, matrix, contrast or kind)",
                )
    return None


def _may_be_a_slice(stack: Series) -> bool:
    return stack.first.is_ct_image and "LOCALIZER" not in stack.first.image_type


def _is_turned(stack: Series, other: Series) -> bool:
    """Whether `other` is parallel to `stack`, but its rows or columns run another way."""
    one, another = stack.first.image_orientation_patient, other.first.image_orientation_patient
    assert one is not None and another is not None  # both have geometry
    parallel = along(stack.normal, other.normal) >= SAME_NORMAL_COS
    return parallel and not same_orientation(one, another)


def _goes_on_in(stack: Series, other: Series) -> bool:
    """Whether `other` lies beyond one end of `stack` and next to it, rather than through the same region."""
    if along(stack.normal, other.normal) < SAME_NORMAL_COS:
        return False
    at = [along(stack.normal, header.image_position_patient or ()) for header in other.headers]
    low, high = stack.positions_mm[0], stack.positions_mm[-1]
    beyond = [max(low - position, position - high) for position in at]
    beyond = [distance for distance in beyond if distance > SAME_POSITION_MM]
    reach = THICKNESS_RATIO * max(stack.spacing_mm, stack.thickness_mm)
    return len(beyond) > len(at) / 2 and min(beyond) <= reach
