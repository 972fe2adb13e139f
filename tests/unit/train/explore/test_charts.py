"""Charts are whole SVG pictures, and nothing is drawn of nothing."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from tests.tables import NONE, UNKNOWN, bleed, table
from train.explore import charts
from train.explore.content import Material, content
from train.explore.pixels import Look
from train.sources.config import Sources


def _part(rows: pd.DataFrame, sources: Sources) -> Any:
    problems = pd.DataFrame({"source": [], "kind": [], "count": []})
    return content(
        Material(
            sources=sources, table=rows, problems=problems, look=Look(), bins=None, validation=0.2, seed=0
        )
    )["parts"][0]  # type: ignore[index]


@pytest.mark.parametrize(
    "draw", [charts.labels, charts.together, charts.storage, charts.brain, charts.geometry]
)
def test_each_chart_is_svg(draw: Any, sources: Sources) -> None:
    """Each parses; drawn twice it is the same text."""
    rows = table({"a": [bleed("subdural"), NONE, UNKNOWN], "b": [NONE]})
    part = _part(rows, sources)
    svg = draw(part)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert draw(part) == svg


def test_nothing_is_drawn_of_what_nobody_knows(sources: Sources) -> None:
    """Unknown labels have no shares, one study has no distribution; slices and their brain are there."""
    part = _part(table({"a": [UNKNOWN] * 3}), sources)
    assert charts.labels(part) is None and charts.together(part) is None and charts.geometry(part) is None
    assert "svg" in charts.storage(part) and "svg" in charts.brain(part)
