"""Everything that the comparison tells, as one value: the JSON file is this, and the page shows it.

`title`, `columns` and `rows` are the table that the evaluation report takes (`report.content.Table`); the
rest is the same as numbers, and what the page shows besides.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal, NamedTuple

import numpy as np

from ich_triage.domain.label import PRIORITISATION_ONLY
from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.model.manifest import SYNTHETIC_STAMP, Metric

from ..report.content import Table
from ..report.scored import Json, beside
from ..report.words import in_words
from ..scored import Scored
from . import measure, words
from .plan import PLAN, PUBLISHED_SLICES
from .results import Data, Result, Run

#: Version of the JSON; docs/howto/train.md tells it.
FORMAT = 2
#: What the comparison tells of the exploration's bins and cuts by brain share.
_BIN = ("from", "to", "slices", "rate", "published_rate")
_CUT = ("least", "share_of_slices", "share_of_positives", "rsna")

_COLUMNS = (
    "row",
    "published",
    "as published: share right",
    "mended: share right",
    "mended: AUC",
    "mended: sensitivity at 0.5",
    "mended: specificity at 0.5",
    "slices of patients trained on, as published",
    "as published − mended, share right",
)


#: How each row is run.
Way = Literal["as_published", "mended"]
WAYS: tuple[Way, Way] = ("as_published", "mended")


class Beside(NamedTuple):
    """A figure and what the trivial baseline has."""

    #: None where there is nothing to measure it on
    metric: Metric | None
    #: see `measure.baselines`
    baseline: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What was run, on what."""

    #: the data of all rows
    data: Data
    #: in the order of the plan
    results: Sequence[Result]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """A result with its figures, which take a while."""

    #: the row, run both ways
    result: Result
    #: by way of running and name, with its trivial baseline
    figures: Mapping[Way, Mapping[str, Beside]]
    #: the same of each subtype alone, where there are several
    labels: Mapping[Way, Mapping[str, Mapping[str, Beside]]]

    def difference(self, name: str) -> Metric | None:
        """As published − mended."""
        published, mended = (self.figures[way][name].metric for way in WAYS)
        return measure.difference(published, mended)


@functools.cache  # the comparison is told anew after each row
def _measured(result: Result) -> _Measured:
    scored = {way: getattr(result, way).scored for way in WAYS}
    return _Measured(
        result=result,
        figures={way: _figures(each) for way, each in scored.items()},
        labels={way: _by_subtype(each) for way, each in scored.items()},
    )


def _by_subtype(scored: Scored) -> dict[str, dict[str, Beside]]:
    if scored.labels.shape[1] == 1:
        return {}
    return {name: _figures(scored.column(k)) for k, name in enumerate(SUBTYPES)}


def content(comparison: Comparison) -> dict[str, Json]:
    """The whole comparison."""
    data, results = comparison.data, comparison.results
    measured = [_measured(result) for result in results]
    table = Table(
        title=" ".join(words.how(data, results)),
        columns=_COLUMNS,
        rows=tuple(_cells(each) for each in measured),
    )
    run = [result.row for result in results]
    return {
        **table.model_dump(mode="json"),
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": version("ich-triage"),
        "stamp": SYNTHETIC_STAMP if data.synthetic else None,
        "label": PRIORITISATION_ONLY,
        "data": _data(data),
        "how": list(words.how(data, results)),
        "results": [_result(each) for each in measured],
        "not_run": [row.title for row in PLAN if row not in run],
        "brain_share": _brain_share(data),
    }


def _data(data: Data) -> Json:
    return {
        "sources": list(data.sources),
        "synthetic": data.synthetic,
        "drawn": data.drawn,
        "slices": data.slices,
        "patients": data.patients,
        "positive": data.positive,
        "published_slices": PUBLISHED_SLICES,
    }


def _result(measured: _Measured) -> Json:
    result, row = measured.result, measured.result.row
    return {
        "name": row.name,
        "title": row.title,
        "published": row.published,
        "published_floor": row.published_floor,
        "recipe": row.recipe,
        **{way: _run(measured, way) for way in WAYS},
        "difference": {name: _plain(measured.difference(name)) for name in ("accuracy", "auc")},
        "shortened": list(words.shortened(result)),
    }


def _run(measured: _Measured, way: Way) -> Json:
    run: Run = getattr(measured.result, way)
    scored, labels = run.scored, measured.labels[way]
    names = SUBTYPES if labels else LABELS[:1]
    return {
        "settings": run.recipe.model_dump(mode="json", exclude={"about"}),
        "pretrained": run.pretrained,
        "trained_slices": run.trained_slices,
        "trained_patients": len(run.trained_patients),
        "slices": len(scored.labels),
        "patients": len(np.unique(scored.patients)),
        "positive": {name: int(n) for name, n in zip(names, scored.labels.sum(axis=0), strict=True)},
        "leaked": _plain(run.leaked()),
        "figures": _told(measured.figures[way]),
        "labels": {name: _told(figures) for name, figures in labels.items()},
    }


def _figures(scored: Scored) -> dict[str, Beside]:
    base = measure.baselines(scored)
    return {name: Beside(metric, base[name]) for name, metric in measure.figures(scored).items()}


def _told(figures: Mapping[str, Beside]) -> dict[str, Json]:
    return {name: beside(*each) for name, each in figures.items()}


def _brain_share(data: Data) -> Json:
    return {
        "bins": [{key: each[key] for key in _BIN} for each in data.bins],
        "cuts": [{key: each[key] for key in _CUT} for each in data.cuts],
    }


def _cells(measured: _Measured) -> tuple[str, ...]:
    """One row of text."""
    published, mended = (measured.figures[way] for way in WAYS)
    return (
        measured.result.row.title,
        words.published(measured.result.row),
        _cell(published["accuracy"]),
        *(_cell(mended[name]) for name in ("accuracy", "auc", "sensitivity", "specificity")),
        in_words(measured.result.as_published.leaked()),
        in_words(measured.difference("accuracy")),
    )


def _cell(figure: Beside) -> str:
    return in_words(figure.metric) + (f", base {figure.baseline:.3f}" if figure.metric else "")


def _plain(metric: Metric | None) -> Json:
    return metric.model_dump() if metric else None
