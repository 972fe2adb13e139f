"""Page and JSON of the comparison: whole, honest, and what the evaluation report takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ich_triage.domain.labels import LABELS, SUBTYPES
from tests.tables import NONE, bleed, table
from train.compare.content import Comparison
from train.compare.page import write
from train.compare.plan import PLAN, Shortening, recipes, rows, shortened
from train.compare.results import Data, Result, Run
from train.recipe import ForestRecipe, SliceRecipe
from train.report.content import Table
from train.scored import Scored

DOCUMENT = Path(__file__).parents[4] / "docs" / "howto" / "train.md"
PATIENTS, SLICES = 12, 10


def _run(recipe: ForestRecipe | SliceRecipe, *, told: float) -> Run:
    """Answers that are the surer the more is told; by slice every patient was trained on, else none."""
    rng = np.random.default_rng(0)
    several = isinstance(recipe, SliceRecipe) and recipe.task == "multilabel"
    labels = rng.random((PATIENTS * SLICES, len(SUBTYPES) if several else 1)) < 0.3
    logits = (labels - 0.5) * told + rng.normal(size=labels.shape)
    patients = np.repeat([f"p{number}" for number in range(PATIENTS)], SLICES)
    return Run(
        recipe=recipe,
        scored=Scored(probability=1 / (1 + np.exp(-logits)), labels=labels, patients=patients),
        trained_slices=400,
        trained_patients=frozenset(patients.tolist() if recipe.split == "slice" else ["q"]),
        pretrained=None if isinstance(recipe, ForestRecipe) else False,
    )


def _result(name: str) -> Result:
    """One row, shortened where it can be; the figure by slice is the better one."""
    row = rows([name])[0]
    published, mended = (
        shortened(each, Shortening(size=128, epochs=1)) if isinstance(each, SliceRecipe) else each
        for each in recipes(row)
    )
    return Result(row=row, as_published=_run(published, told=6), mended=_run(mended, told=2))


def _comparison(*names: str, synthetic: bool | np.ndarray = True) -> Comparison:
    labels = np.arange(PATIENTS * SLICES) % 3 == 0
    slices = [bleed("subdural") if each else NONE for each in labels]
    studies = {f"p{n}": slices[n * SLICES : (n + 1) * SLICES] for n in range(PATIENTS)}
    known = table(studies).assign(synthetic=synthetic, brain_share=np.linspace(0, 0.5, PATIENTS * SLICES))
    return Comparison(data=Data.of(known), results=[_result(name) for name in names])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison of three kinds of rows."""
    folder = tmp_path_factory.mktemp("compare")
    return write(folder, _comparison("forest", "resnet18", "resnet50"))


@pytest.fixture(scope="module")
def told(path: Path) -> dict[str, Any]:
    """Its JSON."""
    return json.loads(path.read_text())


def test_the_evaluation_report_takes_it(path: Path) -> None:
    """Title with the data, a row of text for each row run, with published figure and both floors."""
    table = Table.read(path)
    assert "Drawn heads, no patient: 120 slices of 12 patients" in table.title
    assert [row[0] for row in table.rows] == [row.title for row in PLAN[:3]]
    multilabel = dict(zip(table.columns, table.rows[2], strict=True))
    assert multilabel["published"] == "0.913, base 0.725"
    assert "base 0.733" in multilabel["mended: share right"]
    assert multilabel["slices of patients trained on, as published"].startswith("1.000")


def test_the_leak_is_measured(told: dict[str, Any]) -> None:
    """All slices are of known patients by slice, none by patient; what that is worth has an interval."""
    for result in told["results"]:
        assert result["as_published"]["leaked"]["value"] == 1
        assert result["mended"]["leaked"]["value"] == 0
        difference = result["difference"]["auc"]
        assert 0 < difference["low"] < difference["value"] < difference["high"]
        areas = [result[way]["figures"]["auc"]["value"] for way in ("as_published", "mended")]
        assert difference["value"] == pytest.approx(areas[0] - areas[1])


def test_every_figure_stands_beside_its_baseline(told: dict[str, Any]) -> None:
    """One answer to everything, chance, blind flags; each subtype has its own."""
    mended = told["results"][2]["mended"]
    right = mended["figures"]["accuracy"]
    assert right["baseline"] == pytest.approx(1 - sum(mended["positive"].values()) / (5 * mended["slices"]))
    assert mended["figures"]["auc"]["baseline"] == 0.5
    flagged = mended["figures"]["sensitivity"]["baseline"]
    assert mended["figures"]["specificity"]["baseline"] == pytest.approx(1 - flagged)
    assert mended["labels"].keys() == set(SUBTYPES)


def test_what_was_shortened_and_what_was_not_run_is_told(told: dict[str, Any]) -> None:
    """In words, against the recipe at its own length."""
    forest, binary, multilabel = told["results"]
    share = "70% of the slices, or patients, trained on (published: 80%)"
    assert forest["shortened"] == [share]
    assert binary["shortened"][:3] == [
        share,
        "128 instead of 256 pixels per side",
        "2 instead of 4 passes over the slices",
    ]
    assert "random start" in multilabel["shortened"][-1]
    assert told["not_run"] == [row.title for row in PLAN[3:]]
    assert "Training was shorter" in told["title"]


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            if key != "settings":  # the recipe's own
                yield from _keys(each)
    if isinstance(value, list):
        for each in value:
            yield from _keys(each)


def test_every_key_is_documented(told: dict[str, Any]) -> None:
    """docs/howto/train.md names each key of the JSON."""
    documented = set(re.findall(r"`(\w+)`", DOCUMENT.read_text()))
    assert set(_keys(told)) - set(LABELS) <= documented


def test_the_page_is_stamped_and_needs_nothing_else(path: Path) -> None:
    """No script, nothing fetched; index and headings agree; the stamp stands above every figure."""
    page = path.with_suffix(".html").read_text()
    assert re.findall(r'<a href="#([^"]+)"', page) == re.findall(r'<h2 id="([^"]+)"', page)
    assert page.index("not for clinical use") < page.index("<h2")
    assert "<script" not in page and "<link" not in page and "url(" not in page
    assert all(target.startswith("data:image/") for target in re.findall(r'src="([^"]+)"', page))


def test_scanned_heads_are_not_called_drawn(tmp_path: Path) -> None:
    """Without a row there is a page all the same; without drawn data no stamp."""
    path = write(tmp_path, _comparison(synthetic=False))
    told, page = json.loads(path.read_text()), path.with_suffix(".html").read_text()
    assert told["stamp"] is None
    assert "not for clinical use" not in page and "Drawn heads" not in page
    assert "No row was run" in page
    assert len(told["not_run"]) == len(PLAN)


def test_a_mix_says_what_share_is_drawn(tmp_path: Path) -> None:
    """A quarter of the slices is drawn: neither "no patient" nor scanned heads alone, and stamped."""
    path = write(tmp_path, _comparison(synthetic=np.arange(PATIENTS * SLICES) % 4 == 0))
    told, page = json.loads(path.read_text()), path.with_suffix(".html").read_text()
    assert told["how"][0].startswith("Scanned and drawn heads, 25.0% of the slices drawn: 120 slices")
    assert "no patient" not in page and "nothing about people" not in page
    assert (told["data"]["drawn"], told["data"]["synthetic"]) == (30, True)
    assert "not for clinical use" in told["stamp"]


def test_brain_share_is_told_as_the_exploration_tells_it(told: dict[str, Any]) -> None:
    """The same bins and cuts of the known slices, with what was published beside them, counted once."""
    found = told["brain_share"]
    assert [each["published_rate"] for each in found["bins"]] == [0.001, 0.035, 0.072, 0.087, 0.245, 0.266]
    assert sum(each["slices"] for each in found["bins"]) == PATIENTS * SLICES
    assert [each["least"] for each in found["cuts"]] == [0.02, 0.2]
    assert found["cuts"][1]["rsna"] == {"slices": 0.57, "positives": 0.26}
    assert found["cuts"][1]["share_of_slices"]["value"] == pytest.approx(48 / 120)
