"""The page: every section, nothing fetched, nothing run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.predictions import material, mixed, scanned, study, without_slices
from train.report.content import Table
from train.report.files import write
from train.report.page import outline

SECTIONS = (
    "Intended use", "Data, seeds and hashes", "Operating points", "ROC", "Predictive values", "Subtypes",
    "Subgroups", "Calibration", "Place and overlap", "Volume", "Gallery", "False alarms by mimic",
    "Honesty gates", "Baselines", "The reproduced study", "Limits",
)  # fmt: skip


class Reader(HTMLParser):
    """Tags, what they point at, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of two parts of a package with an awkward name."""
    path = tmp_path_factory.mktemp("report") / "evaluation.json"
    write(
        path, material({"test": mixed(), "held_out": mixed(3_000_000, style="b")}, name="<toy>", pictures=1)
    )
    assert path.exists()
    return path.with_suffix(".html").read_text()


def test_it_names_every_section_of_both_parts(page: str) -> None:
    """Each heading stands once, in order, and the index leads to it."""
    assert tuple(re.findall(r"<h2[^>]*>(.*?)</h2>", page)) == SECTIONS
    anchors = re.findall(r'<a href="#([^"]+)"', page)
    assert anchors == re.findall(r'<h2 id="([^"]+)"', page)
    assert "test (style a)" in page and "held-out style (b)" in page


def test_it_needs_no_network_and_no_script(page: str) -> None:
    """Well-formed; whatever it points at lies in it."""
    read = Reader(page)
    assert read.open == []
    assert "script" not in read.tags and "link" not in read.tags
    assert all(target.startswith(("data:image/", "#")) for target in read.targets)
    assert "url(" not in page and "@import" not in page


def test_it_is_stamped_and_escapes_names(page: str) -> None:
    """The synthetic stamp stands above everything; a name is text, not markup."""
    assert page.index("not for clinical use") < page.index("<h2")
    assert "<toy>" not in page and "&lt;toy&gt;" in page


def test_gallery_says_what_is_left_out_and_what_was_wrong(page: str) -> None:
    """One miss of two is shown; right is green and wrong is red, with a mark for those who cannot tell."""
    assert "1 smaller ones are left out" in page
    assert 'class="wrong">✗ not flagged' in page
    assert 'class="right">✓ flagged' in page
    assert re.search(r'<path class="truth" d="M[\d.,L]+Z', page)


def test_another_generator_is_told(page: str) -> None:
    """The package was made with other studies than these: the page says so."""
    assert "another version of the generator" in page


def test_page_of_nothing_but_normal_heads(tmp_path: Path) -> None:
    """Without positives there is a page, and it says what cannot be drawn."""
    write(tmp_path / "evaluation.json", material({"test": tuple(study(2_000_000 + n) for n in range(2))}))
    text = (tmp_path / "evaluation.html").read_text()
    assert "cannot be drawn" in text
    assert "Not measured for this report" in text


def test_the_reproduced_study_has_its_place(tmp_path: Path) -> None:
    """Its table stands in its section."""
    table = Table(title="Seed study", columns=("recipe", "mended"), rows=(("ResNet18", "0.861"),))
    write(tmp_path / "evaluation.json", replace(material({"test": mixed()}), reproduced=table))
    section = (tmp_path / "evaluation.html").read_text().split("The reproduced study</h2>")[1]
    assert "<td>ResNet18</td><td>0.861</td>" in section


def test_outlines_lie_around_their_cells() -> None:
    """One cell of 4 pixels at row 1, column 2: the line runs around its centre at (10, 6)."""
    cells = np.zeros((4, 4))
    cells[1, 2] = 1
    points = np.array(re.findall(r"([\d.]+),([\d.]+)", outline(cells, 0.5)), float)
    assert points.mean(axis=0) == pytest.approx((10, 6), abs=0.5)
    assert points.min(axis=0) == pytest.approx((8, 4))
    assert outline(np.zeros((4, 4)), 0.5) == ""


def test_unknown_slices_are_said_to_be_unknown(tmp_path: Path) -> None:
    """Studies of feedback alone: a page all the same, whose slices have nothing to be measured on."""
    parts = {"test": tuple(without_slices(scanned(each, f"p{n}")) for n, each in enumerate(mixed()))}
    write(tmp_path / "evaluation.json", material(parts))
    rows = (tmp_path / "evaluation.html").read_text().split("Calibration</h2>")[1].split("</table>")[0]
    assert rows.count("nothing to measure it on") == 2
    assert rows.count("<td>slices</td>") == rows.count("<td>studies</td>") == 2
