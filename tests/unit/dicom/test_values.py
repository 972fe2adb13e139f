"""Texts of other people's objects as values of ours."""

from __future__ import annotations

from datetime import UTC, datetime

from ich_triage.dicom.values import date, date_time, identifier, person_name, words


def test_an_identifier_is_whole_or_empty() -> None:
    """A cut or divided id would be another patient's."""
    assert identifier("P-1") == "P-1"
    assert identifier("P" * 65) == identifier("A\\B") == identifier("A\nB") == ""


def test_words_are_cut_and_stay_one_value() -> None:
    """A description may be shorter, never two."""
    assert words("x" * 100) == "x" * 64
    assert words("a\\b\r\nc") == "a/b  c"


def test_a_name_keeps_its_groups_and_components() -> None:
    """Three groups, five components, 64 characters a group."""
    assert person_name("Doe^John=D=D=D") == "Doe^John=D=D"
    assert person_name("1^2^3^4^5^6") == "1^2^3^4^5"
    assert person_name("x" * 70 + "=y") == "x" * 64 + "=y"


def test_dates_and_moments() -> None:
    """What is no date is empty; a moment names its zone."""
    assert date("20260102") == "20260102"
    assert date("2026-01-02") == date("") == ""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert datetime.strptime(date_time(moment), "%Y%m%d%H%M%S.%f%z") == moment
