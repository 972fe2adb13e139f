"""What we make of addresses and answers."""

from __future__ import annotations

import pytest

from ich_triage.dicom.scu import Peer, Stored, storage_contexts
from ich_triage.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "host"),
    [("PACS@10.0.0.1:104", "10.0.0.1"), ("PACS@[::1]:104", "::1"), ("PACS@h.example:104", "h.example")],
)
def test_a_peer_is_read_from_one_word(text: str, host: str) -> None:
    """AE@host:port, IPv6 in brackets."""
    assert Peer.parse(text) == Peer(host=host, port=104, ae_title="PACS")


@pytest.mark.parametrize(
    "text", ["", "PACS", "PACS@host", "@host:104", "PACS@:104", "PACS@host:x", "A" * 17 + "@h:1"]
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    """The message quotes what was given and says what was expected."""
    with pytest.raises(SettingsError, match="AE@host:port"):
        Peer.parse(text)


@pytest.mark.parametrize(
    ("status", "ok", "warning"),
    [
        (0x0000, True, False),
        (0xB000, True, True),
        (0xB007, True, True),
        (0x0107, True, True),
        (0xA700, False, False),
        (0xC001, False, False),
        (0x0122, False, False),
    ],
)
def test_warnings_count_as_stored(status: int, ok: bool, warning: bool) -> None:
    """PS3.4 Table B.2-1: Bxxx is stored, Axxx, Cxxx and the general failures are not."""
    answer = Stored(status=status)
    assert (answer.ok, answer.warning) == (ok, warning)


def test_each_transfer_syntax_gets_a_context_of_its_own() -> None:
    """A peer accepts one transfer syntax per context, so they must not share one."""
    contexts = storage_contexts([("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.4.90")] * 3)
    assert [len(context.transfer_syntax) for context in contexts] == [1, 1]
