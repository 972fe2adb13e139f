"""What documents hold, in words."""

from __future__ import annotations

import pytest

from ich_triage.worklist import words


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("DOE^JANE", "DOE, JANE"),
        ("SMITH^JOHN^PAUL^DR", "SMITH, JOHN PAUL DR"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("^^^", "(no name)"),
        ("", "(no name)"),
    ],
)
def test_a_person_has_a_readable_name(name: str, shown: str) -> None:
    """Family name first; the first group that holds one."""
    assert words.person(name) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "< 1%"), (0.004, "< 1%"), (0.5, "50%"), (0.994, "99%"), (0.9999, "> 99%")]
)
def test_no_probability_is_certainty(value: float, shown: str) -> None:
    """Neither 0 nor 100% was ever measured."""
    assert words.percent(value) == shown


def test_a_finding_without_a_mask_has_no_place() -> None:
    """Said, not left blank."""
    assert words.extent({"volume_ml": None, "side": None}) == "no place told"
    assert words.extent({"volume_ml": 4.25, "side": "bilateral"}) == "both sides, 4.2 mL"


def test_a_malformed_date_stays_as_it_is() -> None:
    """Better odd than wrong."""
    assert (words.day("20260102"), words.day("02.01.26")) == ("2026-01-02", "02.01.26")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "119 min"), (7200, "2 h 0 min"), (9e4, "25 h 0 min")],
)
def test_a_wait_is_told_in_the_largest_units_that_fit(value: float, shown: str) -> None:
    """Never more than has passed."""
    assert words.waiting(value) == shown
