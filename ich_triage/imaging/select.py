"""Choose the series to analyse: axial, without contrast, soft kernel, a whole head; say why no other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ich_triage.domain.states import ReasonCode

from .header import SliceHeader, UnreadableFile
from .parts import left_out
from .rules import EXCLUSIONS, PREFERENCES
from .stacks import Series, split

__all__ = ["RejectedSeries", "Selection", "Series", "select"]


@dataclass(frozen=True, kw_only=True)
class RejectedSeries:
    """A series, or one of several stacks under one series, that was not chosen."""

    #: Series Instance UID; empty where it cannot be known
    series_instance_uid: str
    #: Series Description
    description: str
    #: why, for programs
    code: ReasonCode
    #: why, for people
    reason: str
    #: number of images, or frames
    images: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is analysed and what is not."""

    #: the series to analyse; None when there is none
    chosen: Series | None
    #: all others
    rejected: tuple[RejectedSeries, ...]
    #: why nothing was chosen; None when something was
    code: ReasonCode | None
    #: why it was chosen, or why nothing was
    reason: str


def select(headers: Iterable[SliceHeader], *, unreadable: Sequence[UnreadableFile] = ()) -> Selection:
    """Choose among the images of one study; the order of `headers` makes no difference."""
    refused: list[tuple[int, RejectedSeries]] = []
    suitable: list[Series] = []
    stacks = split(headers)
    for stack in stacks:
        if found := _first_exclusion(stack):
            refused.append((found[0], _rejected(stack, EXCLUSIONS[found[0]].code, found[1])))
        elif lacking := left_out(stack, stacks, unreadable):
            refused.append((len(EXCLUSIONS), _rejected(stack, *lacking)))
        else:
            suitable.append(stack)
    rejected = [series for _, series in refused] + _unread(unreadable)
    if not suitable:
        return _nothing(refused, rejected)
    chosen, *others = sorted(suitable, key=_rank)
    rejected += [_outranked(stack, chosen) for stack in others]
    return Selection(chosen=chosen, rejected=tuple(rejected), code=None, reason=_why(chosen))


def _first_exclusion(stack: Series) -> tuple[int, str] | None:
    for index, rule in enumerate(EXCLUSIONS):
        if reason := rule.explain(stack):
            return index, reason
    return None


def _rank(stack: Series) -> tuple[object, ...]:
    identity = (stack.series_instance_uid, stack.first.sop_instance_uid, stack.first.frame_number or 0)
    return (*(preference.key(stack) for preference in PREFERENCES), *identity)


def _outranked(stack: Series, chosen: Series) -> RejectedSeries:
    for preference in PREFERENCES:
        if preference.key(stack) > preference.key(chosen):
            return _rejected(stack, preference.code, preference.explain(stack))
    return _rejected(stack, ReasonCode.BETTER_SERIES, "equal to the chosen series")


def _nothing(refused: list[tuple[int, RejectedSeries]], rejected: list[RejectedSeries]) -> Selection:
    """The study's reason is that of the series which came furthest through the rules."""
    code, reason = ReasonCode.NO_CT_IMAGES, "no CT images in the study"
    if refused:
        _, nearest = max(refused, key=lambda item: (item[0], item[1].images))
        code, reason = nearest.code, nearest.reason
    unread = [series for series in rejected if series.code is ReasonCode.UNREADABLE_HEADER]
    if unread and code is ReasonCode.NO_CT_IMAGES:
        code, reason = unread[0].code, unread[0].reason
    return Selection(chosen=None, rejected=tuple(rejected), code=code, reason=reason)


def _unread(unreadable: Sequence[UnreadableFile]) -> list[RejectedSeries]:
    by_series: dict[str, list[UnreadableFile]] = defaultdict(list)
    for file in unreadable:
        by_series[file.series_instance_uid].append(file)
    return [
        RejectedSeries(
            series_instance_uid=uid,
            description="",
            code=ReasonCode.UNREADABLE_HEADER,
            reason=files[0].reason,
            images=len(files),
        )
        for uid, files in by_series.items()
    ]


def _rejected(stack: Series, code: ReasonCode, reason: str) -> RejectedSeries:
    return RejectedSeries(
        series_instance_uid=stack.series_instance_uid,
        description=stack.first.series_description,
        code=code,
        reason=reason,
        images=len(stack.headers),
    )


def _why(stack: Series) -> str:
    kernel = stack.first.convolution_kernel or "not stated"
    return (
        f"axial, no contrast, kernel {kernel}, {len(stack.headers)} images of {stack.thickness_mm:.2g} mm "
        f"over {stack.coverage_mm:.0f} mm"
    )
