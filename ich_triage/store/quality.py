"""How the model does here: how often each package flags, and what readers say to it, week by week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from scipy.stats import binomtest
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.states import ANALYSED_STATES, StudyState
from .feedback import all_that_count, sees_bleed
from .tables import Revision

#: of the intervals
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of a count, with its exact interval (Clopper and Pearson 1934)."""

    #: how many
    count: int
    #: of how many
    of: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Between which it lies, with 95% confidence; None of nothing."""
        if not self.of:
            return None
        interval = binomtest(self.count, self.of).proportion_ci(_CONFIDENCE, method="exact")
        return float(interval.low), float(interval.high)


@dataclass(kw_only=True)
class Tally:
    """What one package said, and what readers said to it."""

    #: studies with an answer of the model
    analysed: int = 0
    #: of these flagged
    flagged: int = 0
    #: answers of readers
    answered: int = 0
    #: of these agreeing
    agreed: int = 0
    #: answers of readers to flagged studies
    flagged_answered: int = 0
    #: of these that see a bleed
    flagged_right: int = 0

    @property
    def flag_rate(self) -> Share:
        """Share of the analysed that were flagged."""
        return Share(count=self.flagged, of=self.analysed)

    @property
    def agreement(self) -> Share:
        """Share of readers' answers that agree."""
        return Share(count=self.agreed, of=self.answered)

    @property
    def positive_predictive_value(self) -> Share:
        """Share of the flagged and answered in which the reader sees a bleed, too."""
        return Share(count=self.flagged_right, of=self.flagged_answered)


@dataclass(kw_only=True)
class PackageQuality:
    """One package."""

    #: SHA-256 of its weights, hex
    weights_sha256: str
    #: name and version
    name: str
    #: over all weeks
    total: Tally = field(default_factory=Tally)
    #: by the Monday of the week of receipt
    weeks: dict[date, Tally] = field(default_factory=lambda: defaultdict(Tally))


def by_package(session: Session, *, since: datetime) -> Sequence[PackageQuality]:
    """Every package that has analysed a study received after `since`; the latest first."""
    found: dict[str, PackageQuality] = {}
    package = Revision.analysis["package"]
    answers = session.execute(
        select(
            package["weights_sha256"].as_string(),
            package["name"].as_string(),
            package["version"].as_string(),
            Revision.state,
            Revision.first_slice_at,
        )
        .where(
            Revision.state.in_(ANALYSED_STATES), Revision.same_as.is_(None), Revision.first_slice_at >= since
        )
        .order_by(Revision.stored_at.desc())
    )
    for weights, name, version, state, received in answers:
        quality = found.setdefault(weights, PackageQuality(weights_sha256=weights, name=f"{name} {version}"))
        for tally in (quality.total, quality.weeks[_monday(received)]):
            tally.analysed += 1
            tally.flagged += state == StudyState.FLAGGED
    for feedback in all_that_count(session, since=since):
        if feedback.weights_sha256 in found:
            quality = found[feedback.weights_sha256]
            for tally in (quality.total, quality.weeks[_monday(feedback.revision.first_slice_at)]):
                tally.answered += 1
                tally.agreed += feedback.agrees
                if feedback.revision.state == StudyState.FLAGGED:
                    tally.flagged_answered += 1
                    tally.flagged_right += sees_bleed(feedback)
    return list(found.values())


def _monday(moment: datetime) -> date:
    day = moment.date()
    return day - timedelta(days=day.weekday())
