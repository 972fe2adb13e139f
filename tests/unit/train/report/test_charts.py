"""Charts are whole SVG pictures, the same for the same figures."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.predictions import material, mixed, study, without_slices
from train.report import charts
from train.report.content import content


@pytest.fixture(scope="module")
def part() -> dict[str, Any]:
    """The content of one part."""
    return content(material({"test": mixed()}))["parts"]["test"]


def test_each_chart_is_svg(part: dict[str, Any]) -> None:
    """Each parses; drawn twice it is the same text."""
    for draw in (charts.roc, charts.reliability, charts.bland_altman):
        svg = draw(part)
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert draw(part) == svg
    assert "svg" in charts.sensitivities(part, "balanced")


def test_what_cannot_be_drawn_is_left_out() -> None:
    """Normal heads alone have no ROC and no volumes."""
    normal = content(material({"test": (study(2_000_000), study(2_000_001))}))["parts"]["test"]
    assert charts.roc(normal) is None
    assert charts.bland_altman(normal) is None


def test_reliability_of_unknown_slices_is_a_panel_without_bins() -> None:
    """The chart is drawn all the same."""
    silent = material({"test": tuple(without_slices(each) for each in mixed())})
    part = content(silent)["parts"]["test"]
    assert part["calibration"]["slice"]["after"]["bins"] == []
    assert ElementTree.fromstring(charts.reliability(part)).tag.endswith("svg")
