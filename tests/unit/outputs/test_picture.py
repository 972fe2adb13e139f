"""The key-image page: what it shows, where, and what it leaves visible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ich_triage.domain.finding import Analysis, Side
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.outputs.picture import COLOURS, PANEL, choose_panels, render
from ich_triage.outputs.report import Report
from tests.reports import SUBDURAL, made_headers, made_masks, made_volume, report_of


def analysis(report: Report) -> Analysis:
    """The report's analysis, which it has."""
    assert report.analysis is not None
    return report.analysis


def with_findings(count: int) -> Report:
    """A flagged report with `count` findings on different slices."""
    report = report_of(made_headers())
    findings = tuple(
        replace(SUBDURAL, subtype=subtype, key_slice=3 + number)
        for number, subtype in enumerate(SUBTYPES[::-1][:count])
    )
    return replace(report, analysis=replace(analysis(report), findings=findings))


def page(report: Report) -> np.ndarray:
    """The page as rendered over the made volume."""
    volume = made_volume(made_headers())
    return render(report, analysis(report), volume=volume, masks=made_masks(volume))


@pytest.mark.parametrize("count", range(6))
def test_the_page_has_at_most_four_panels(count: int) -> None:
    """From no finding to one of each subtype, the page keeps its width and shows one to four slices."""
    report = with_findings(count)
    panels = choose_panels(analysis(report))
    assert 1 <= len(panels) <= 4
    picture = page(report)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (2 * PANEL, 3)
    assert picture.shape[0] > -(-len(panels) // 2) * PANEL


def test_a_single_key_slice_also_stands_without_outline() -> None:
    """What is outlined is shown once more untouched, beside it."""
    outlined, plain, *_ = choose_panels(analysis(with_findings(1)))
    assert outlined.outlined and not plain.outlined
    assert outlined.slice_index == plain.slice_index == 3


def test_findings_on_the_same_slice_share_a_panel() -> None:
    """Two subtypes whose key slice is the same are outlined together."""
    report = with_findings(2)
    first, second = analysis(report).findings
    both = replace(analysis(report), findings=(first, replace(second, key_slice=first.key_slice)))
    panels = choose_panels(both)
    assert "SDH left, SAH left" in panels[0].caption
    assert sum(panel.slice_index == first.key_slice for panel in panels) == 2


@pytest.mark.risk("R-004")
def test_the_patients_left_is_on_the_pictures_right() -> None:
    """A mask at larger x (patient left) is outlined in the right half of its panel, next to the letter L."""
    picture = page(with_findings(1))
    colour = np.all(picture == np.array(COLOURS[Subtype.SUBDURAL]), axis=2)
    head = picture.shape[0] - 2 * PANEL
    columns = np.flatnonzero(colour[head : head + PANEL - 100, :PANEL].any(axis=0))
    assert len(columns) and columns.min() > PANEL / 2
    assert SUBDURAL.side is Side.LEFT


def test_the_outline_hides_nothing_inside() -> None:
    """Inside the rim the outlined panel equals the plain one beside it."""
    picture = page(with_findings(1)).astype(int)
    top = int(np.flatnonzero(np.all(picture[:, 0] == 60, axis=1))[0])
    outlined, plain = (picture[top : top + PANEL, left : left + PANEL] for left in (0, PANEL))
    rim = np.all(outlined == np.array(COLOURS[Subtype.SUBDURAL]), axis=2)
    rows, columns = np.nonzero(rim)
    inside = (slice(rows.min() + 25, rows.max() - 25), slice(columns.min() + 25, columns.max() - 25))
    assert outlined[inside].size and np.array_equal(outlined[inside], plain[inside])
