"""Who is let in, by what is known of a peer."""

from __future__ import annotations

import pytest

from ich_triage.dicom.admission import Admission, Refusal, plain_address
from ich_triage.settings import AllowedPeer, Dicom

NOBODY: frozenset[str] = frozenset()


def admission(*peers: AllowedPeer, **limits: int) -> Admission:
    """Of a listener with these peers."""
    return Admission(Dicom(**limits), peers, rights={"1.2": "store"})


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8:0:0::1", "2001:db8::1"),
    ],
)
def test_an_address_has_one_spelling(address: str, plain: str) -> None:
    """Otherwise a peer could be counted twice, or miss its own table on a listener for IPv6."""
    assert plain_address(address) == plain


def test_of_tables_with_one_ae_title_the_first_that_fits_decides() -> None:
    """Scanners that were never given AE titles of their own are told apart by address and certificate."""
    here = AllowedPeer(name="a", ae_title="CT", addresses=("10.0.0.0/30",), rights=())
    known = AllowedPeer(name="b", ae_title="CT", rights=("store",), certificate_name="ct")
    door = admission(here, known)
    assert door.asked("CT", "10.0.0.1", NOBODY) == here
    assert door.asked("CT", "10.0.0.9", frozenset({"ct", "CT room 2"})) == known
    refused = door.asked("CT", "10.0.0.9", NOBODY)
    assert isinstance(refused, Refusal) and refused.reason == "certificate_not_of_this_peer"
    assert [door.allows(peer, "1.2") for peer in (here, known, None)] == [False, True, True]


def test_places_are_given_back() -> None:
    """Of associations and connections alike, however often."""
    door = admission(max_associations=1, max_associations_per_address=1)
    for _ in range(3):
        assert door.asked("CT", "10.0.0.1", NOBODY) is None
        assert isinstance(door.asked("CT", "10.0.0.2", NOBODY), Refusal)
        door.left("10.0.0.1")
        taken = [door.connected("10.0.0.1") for _ in range(22)]
        assert taken == [True] * 21 + [False]
        for _ in range(21):
            door.disconnected("10.0.0.1")
