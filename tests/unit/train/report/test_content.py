"""The JSON: complete, documented, and whole where there is little to measure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ich_triage.domain.labels import LABELS
from ich_triage.model.manifest import Metric
from tests.predictions import material, mixed, study
from train.report.content import FORMAT, Table, content

DOCUMENT = Path(__file__).parents[4] / "docs" / "evaluation.md"
#: Keys that are names of things: parts, operating points, labels, figures, fields of the training data.
NAMES = {"test", "held_out", "balanced", "high_sensitivity", "generator_sha256", *LABELS}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """A report of two parts."""
    parts = {"test": mixed(), "held_out": mixed(3_000_000, style="b")}
    return json.loads(json.dumps(content(material(parts)), allow_nan=False))


def _keys(value: Any, under: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if under != "figures" or key in NAMES:
                yield key
            yield from _keys(each, "figures" if "figures" in (key, under) and key in NAMES else key)
    if isinstance(value, list):
        for each in value:
            yield from _keys(each, under)


def test_every_key_is_documented(told: dict[str, Any]) -> None:
    """docs/evaluation.md names each key of the JSON."""
    documented = set(re.findall(r"`(\w+)`", DOCUMENT.read_text()))
    assert set(_keys(told)) - NAMES - set(told["figures"]["test"]) <= documented


def test_it_says_what_it_is(told: dict[str, Any]) -> None:
    """Format, stamp, label, hashes, and the flat figures that scripts compare."""
    assert told["format"] == FORMAT
    assert "not for clinical use" in told["stamp"]
    assert "not flagged is not negative" in told["label"]
    assert told["weights_sha256"] == "0" * 64
    assert told["generator_sha256"] == "1" * 64
    assert {"study_auc_any", "sensitivity_balanced", "slice_log_loss"} <= told["figures"]["test"].keys()
    assert told["parts"]["test"]["data"]["sha256"] != told["parts"]["held_out"]["data"]["sha256"]
    assert told["parts"]["held_out"]["data"]["styles"] == ["b"]


def test_gates_are_held_against_their_limits() -> None:
    """Held where the interval reaches one half, or the count stays below 0.85; unknown where not measured."""
    measured = {
        "gate_metadata_only_auc": Metric(value=0.55, low=0.48, high=0.62, n=12),
        "gate_outside_skull_auc": Metric(value=0.57, low=0.51, high=0.63, n=12),
        "gate_hyperdense_count_auc": Metric(value=0.84, low=0.80, high=0.88, n=12),
    }
    part = replace(material({"test": mixed()}), figures={"test": measured})
    gates = {gate["name"]: gate["held"] for gate in content(part)["parts"]["test"]["gates"]}
    assert gates == {
        "gate_metadata_only_auc": True,
        "gate_outside_skull_auc": False,
        "gate_outside_skull_without_epidural_auc": None,
        "gate_hyperdense_count_auc": True,
    }


def test_a_set_without_positives_is_reported() -> None:
    """Three normal heads: what cannot be measured is null, and it is still JSON."""
    told = content(material({"test": tuple(study(2_000_000 + n) for n in range(3))}))
    part = json.loads(json.dumps(told, allow_nan=False))["parts"]["test"]
    assert part["roc"] is None
    assert part["labels"]["any"]["auc"] is None
    assert part["gates"][0]["held"] is None
    assert part["gallery"]["misses"] == []


def test_the_reproduced_study_is_a_table(tmp_path: Path) -> None:
    """A rectangular table is taken, another is refused with what to do."""
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"title": "t", "columns": ["a", "b"], "rows": [["1", "2"]]}))
    assert Table.read(path).rows == (("1", "2"),)
    path.write_text(json.dumps({"title": "t", "columns": ["a", "b"], "rows": [["1"]]}))
    with pytest.raises(ValueError, match="each row as long as"):
        Table.read(path)
