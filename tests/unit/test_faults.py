"""The page on faults keeps its promise to name a test for each."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_each_fault_names_tests_that_there_are() -> None:
    """docs/faults.md: a row without a test, or with one that is gone, is no promise."""
    page = (TESTS.parent / "docs" / "faults.md").read_text()
    there = {
        name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    faults = [line for line in rows if not line.startswith("| ---")]
    assert len(faults) >= 13
    for fault in faults:
        named = set(re.findall(r"test_\w+", fault.split("|")[-2]))
        assert named and named <= there, fault
