"""`python -m train explore`, from tables to a page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from train.__main__ import app
from train.data import FOLDS_FILE

SECTIONS = (
    "Data", "Labels", "Subtypes together", "Stored pixels", "Brain share", "Geometry", "Windows side by side",
    "Examples", "Problems", "Split and leak check", "Trivial baselines",
)  # fmt: skip


def _explore(data: Path, out: Path) -> Result:
    command = ["explore", "--data", str(data), "--out", str(out), "--examples", "1"]
    return CliRunner().invoke(app, command, catch_exceptions=False)


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after one run."""
    out = tmp_path_factory.mktemp("out")
    told = _explore(folder / "data", out)
    assert told.exit_code == 0 and "exploration.html" in told.output
    return out


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    """The page."""
    return (out / "exploration.html").read_text()


def test_it_has_every_section(page: str) -> None:
    """Each heading stands once, in order, and the index leads to it."""
    assert tuple(re.findall(r"<h2[^>]*>(.*?)</h2>", page)) == SECTIONS
    assert re.findall(r'<a href="#([^"]+)"', page) == re.findall(r'<h2 id="([^"]+)"', page)


def test_it_needs_no_network_and_no_script(page: str) -> None:
    """Whatever it points at lies in it."""
    targets = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert targets and all(target.startswith(("data:image/", "#")) for target in targets)
    assert not re.search(r"<script|<link|url\(|@import", page)


def test_no_patient_is_on_it(out: Path, page: str, rows: pd.DataFrame) -> None:
    """Neither ids, nor their hashes, nor UIDs, nor names of files."""
    words = re.sub(r"data:image/[^\"]*", "", page) + (out / "exploration.json").read_text()
    for column in ("patient", "StudyInstanceUID", "SOPInstanceUID", "path"):
        assert not any(value in words for value in rows[column].unique())
    assert "secret" not in words


def test_it_says_what_leaks_and_what_is_wrong(page: str) -> None:
    """By patient nothing, by slice nearly all; a label without its file is counted."""
    assert "✓ no patient is in two folds" in page and "✗ it leaks" in page
    assert re.search(r"<td>labels without file</td>.*?<td>unused</td>", page)
    assert "synthetic training data" not in page.lower()


def test_bins_are_frozen_by_the_first_run(folder: Path, out: Path, tmp_path: Path) -> None:
    """Later runs take them as they are; a file that holds none stops with the remedy."""
    path = tmp_path / "freqhist.json"
    path.write_text(json.dumps(json.loads((out / path.name).read_text()) | {"hu": [0.0, 40.0, 80.0]}))
    assert _explore(folder / "data", tmp_path).exit_code == 0
    told = json.loads((tmp_path / "exploration.json").read_text())
    assert told["frequency"]["bins"] == [0.0, 40.0, 80.0]
    path.write_text("{}")
    failed = _explore(folder / "data", tmp_path)
    assert failed.exit_code == 1 and "remove it, and the next run draws new ones" in failed.output


def test_tables_that_are_missing_name_the_command(folder: Path, tmp_path: Path) -> None:
    """One line, no traceback."""
    told = _explore(tmp_path, tmp_path / "out")
    assert told.exit_code == 1 and "python -m train metadata" in told.output


def test_folds_that_training_froze_are_shown(folder: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    """They stand on the page beside the split by slice; the file stays as it is, and a broken one stops."""
    data = shutil.copytree(folder / "data", tmp_path / "data")
    names = rows["patient"].unique()
    folds = ["train"] * 7 + ["calibration"] * 2 + ["test"] * (len(names) - 10)
    path = data / FOLDS_FILE
    pd.DataFrame({"patient": names[:-1], "fold": folds}).to_csv(path, index=False)
    before = path.read_bytes()
    assert _explore(data, tmp_path / "out").exit_code == 0
    told = json.loads((tmp_path / "out" / "exploration.json").read_text())
    both = told["parts"][-1]["splits"]["by_patient"]
    assert told["frozen_folds"] and both["without_fold"] == 1
    assert [row["patients"] for row in both["folds"].values()] == [7, 2, len(names) - 10]
    page = (tmp_path / "out" / "exploration.html").read_text()
    assert "<td>calibration</td>" in page and "1 patients have no fold yet" in page
    assert path.read_bytes() == before
    path.write_text("patient,fold\na,validation\n")
    failed = _explore(data, tmp_path / "out")
    assert failed.exit_code == 1 and "bring it back from a backup" in failed.output
