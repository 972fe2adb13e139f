"""Who is still sending what."""

from __future__ import annotations

from ich_triage.intake.associations import Associations


def test_a_study_is_done_when_its_associations_are() -> None:
    """Only open associations that touched the study count, however many touched it."""
    associations = Associations()
    first, second, other = associations.begin(), associations.begin(), associations.begin()
    associations.touched(first, "1.2")
    associations.touched(second, "1.2")
    associations.touched(other, "1.3")
    associations.end(first)
    assert not associations.all_ended("1.2")
    associations.end(second)
    assert associations.all_ended("1.2")
    assert not associations.all_ended("1.3")


def test_an_object_indexed_after_the_end_holds_nothing_open() -> None:
    """The index runs behind the network: an association that is over stays over."""
    associations = Associations()
    number = associations.begin()
    associations.end(number)
    associations.touched(number, "1.2")
    associations.touched(None, "1.2")
    assert associations.all_ended("1.2")
