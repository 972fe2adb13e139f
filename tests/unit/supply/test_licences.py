"""docs/licences.md tells the licence of every pin, and nothing ships under one that it may not."""

from __future__ import annotations

import re

import pytest

from supply.licences import COPYLEFT_THAT_SHIPS, PAGE, Kind, Package, groups
from tests.unit.supply.pins import pins

Groups = dict[str, list[Package]]


@pytest.fixture(scope="module")
def found() -> Groups:
    """What is installed, by group."""
    return groups()


def test_the_page_tells_what_the_packages_say(found: Groups) -> None:
    """Each package stands under its heading with its licence; whose licence has changed is written anew
    (`make licences`) and looked at.
    """
    parts = PAGE.read_text().split("\n## ")
    for heading, packages in found.items():
        (part,) = (each for each in parts if each.startswith(heading))
        assert {package.row for package in packages} <= set(part.splitlines())


def test_every_pin_has_its_line(found: Groups) -> None:
    """No pin for this system is in none of the groups, and the page names no package that is not pinned."""
    here = {pin.name for pin in pins() if pin.here}
    assert here <= {package.name for packages in found.values() for package in packages}
    named = re.findall(r"^\| ([\w.-]+) \| .* \| (?:permissive|weak copyleft|of the vendor|copyleft) \|$",
                       PAGE.read_text(), re.MULTILINE)  # fmt: skip
    assert set(named) <= {pin.name for pin in pins()}


@pytest.mark.risk("R-120")
def test_nothing_ships_that_may_not(found: Groups) -> None:
    """Every licence is one that a person has looked at, and of what is installed at a site only what the page
    explains asks for more than a notice.
    """
    service, training, _ = found.values()
    assert all(package.kind in Kind for packages in found.values() for package in packages)
    copyleft = {package.name for package in (*service, *training) if package.kind is Kind.COPYLEFT}
    assert copyleft == COPYLEFT_THAT_SHIPS
    assert all(f"`{name}`" in PAGE.read_text() for name in copyleft)
    vendor = {package.name for package in (*service, *training) if package.kind is Kind.VENDOR}
    assert all(name.startswith(("nvidia-", "cuda-")) for name in vendor)


def test_the_strictest_licence_counts_unless_one_may_choose() -> None:
    """`A AND B` asks for both, `A OR B` for either; an unknown one is for a person to look at."""
    assert Package(name="x", licence="MIT AND MPL-2.0").kind is Kind.WEAK_COPYLEFT
    assert Package(name="x", licence="GPL-3.0-only OR MIT").kind is Kind.PERMISSIVE
    with pytest.raises(KeyError):
        _ = Package(name="x", licence="UNKNOWN").kind
