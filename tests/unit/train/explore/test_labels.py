"""How often labels are there, and together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tables import NONE, UNKNOWN, bleed, table
from train.explore.labels import labels, together
from train.explore.part import Part

_OPEN = (True, None, None, None, None, True)


def _found(section: Any, slices: list) -> Any:
    return section(Part(name="one", table=table({"a": slices, "b": [NONE] * 4})))


def test_pairs_are_counted_and_shared_by_row() -> None:
    """Of three slices with IPH one has IVH, too; all that have IVH have IPH."""
    both, one = bleed("intraparenchymal", "intraventricular"), bleed("intraparenchymal")
    found = _found(together, [both, one, one, bleed(), UNKNOWN])["slices"]
    iph, ivh = (found["subtypes"].index(name) for name in ("intraparenchymal", "intraventricular"))
    assert found["pairs"][iph][iph] == 3
    assert found["pairs"][iph][ivh] == found["pairs"][ivh][iph] == 1
    assert found["share"][iph][ivh] == pytest.approx(1 / 3) and found["share"][ivh][iph] == 1
    assert found["labels_per_bleeding"]["value"] == 1.0
    assert found["numbers"] == {"0": 1, "1": 2, "2": 1}
    assert found["sets"][0] == {"subtypes": ["intraparenchymal"], "count": 2}
    assert {"subtypes": [], "count": 1} in found["sets"]


def test_without_known_subtypes_there_are_no_pairs() -> None:
    """A bleed that leaves subtypes open is in no set."""
    assert _found(together, [_OPEN])["slices"] is None


def test_what_is_only_known_not_to_be_there_has_no_share() -> None:
    """Slices without a bleed have no epidural one; where those with one do not say, 0% would be a lie."""
    found = _found(labels, [_OPEN, UNKNOWN])["slices"]
    assert found["epidural"] == {
        "positive": 0, "negative": 4, "unknown": 2, "share": None, "share_of_bleeding": None
    }  # fmt: skip
    assert found["subdural"]["share"]["value"] == pytest.approx(1 / 5)
    assert found["any"]["unknown"] == 1
