"""Risks and promises name the tests that verify them, and those tests are there."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
RISKS = REPOSITORY / "docs" / "risk" / "risks.md"
#: S × P that is accepted without a reason, and that which is accepted at all
ACCEPTED, BEARABLE = 6, 12


def _rows() -> list[list[str]]:
    """Cells of each risk of the table."""
    lines = (line for line in RISKS.read_text().splitlines() if re.match(r"\| R-\d{3} \|", line))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@cache
def _functions() -> dict[str, dict[str, frozenset[str]]]:
    """Path of each file of tests → its tests → ids of risks that each verifies."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        found[str(path.relative_to(REPOSITORY))] = {
            node.name: frozenset(_ids(node))
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        }
    return found


def _ids(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """What stands in its `@pytest.mark.risk(…)`."""
    return [
        str(ast.literal_eval(argument))
        for mark in function.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.risk"
        for argument in mark.args
    ]


def test_each_risk_is_verified_by_the_tests_that_it_names() -> None:
    """Table and markers say the same: no risk without a test, no test for a risk that there is not."""
    marked: dict[str, set[str]] = defaultdict(set)
    for tests in _functions().values():
        for name, ids in tests.items():
            for each in ids:
                marked[each].add(name)
    table = {row[0]: set(re.findall(r"`(test_\w+)`", row[-1])) for row in _rows()}
    assert len(table) == len(_rows())
    assert all(table.values())
    assert marked == table


def test_what_is_left_of_each_risk_can_be_borne() -> None:
    """No measure makes it worse; nothing is left above the limit, nothing large without a word on it."""
    for row in _rows():
        identity, left = row[0], row[7]
        severity, before, after = (int(row[column]) for column in (3, 4, 6))
        assert {severity, before, after} <= {1, 2, 3, 4, 5}, identity
        assert after < before, identity
        assert severity * after <= BEARABLE, identity
        assert severity * after <= ACCEPTED or left != "–", identity


def test_the_threat_model_names_risks_that_there_are() -> None:
    """Each risk to data, people and the service stands at a door; no door names one that there is not."""
    known = {row[0] for row in _rows()}
    named = set(re.findall(r"R-\d{3}", (RISKS.with_name("threats.md")).read_text()))
    assert named <= known
    assert {each for each in known if each > "R-100"} <= named


def test_every_promise_points_to_its_tests() -> None:
    """README's table: eleven promises, each with tests that exist where it says."""
    text = (REPOSITORY / "README.md").read_text().split("## What is promised")[1].split("\n## ")[0]
    promises = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(promises) == 11
    for promise in promises:
        places = re.findall(r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)", promise)
        assert len(places) >= 2, promise
        for name, path in places:
            assert name in _functions()[path], f"{path} has no {name}"
