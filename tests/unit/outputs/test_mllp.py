"""Acknowledgements: whatever a peer sends is read, and only an acceptance of this message is success."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_triage.outputs.link import Outcome
from ich_triage.outputs.mllp import read_acknowledgement

GOOD = b"\x0bMSH|^~\\&|HIS||||2026||ACK|1|P|2.5.1\rMSA|AA|ID\r\x1c\r"


def test_an_acceptance_is_success() -> None:
    """Also after a line end that the peer has sent behind its last answer."""
    for block in (GOOD, b"\n" + GOOD):
        answer, fits = read_acknowledgement(block, "ID", encoding="utf-8")
        assert (answer.outcome, fits) == (Outcome.ACCEPTED, True)


@pytest.mark.parametrize("code", ["", "aa", "AX", "OK"])
def test_an_unknown_code_is_no_success(code: str) -> None:
    """Codes are those of HL7 table 0008, no other."""
    answer, _ = read_acknowledgement(GOOD.replace(b"AA", code.encode()), "ID", encoding="utf-8")
    assert answer.outcome is Outcome.AGAIN


def test_other_delimiters_are_read() -> None:
    """A peer may choose its own."""
    block = b"\x0bMSH$!@\\%$HIS\rMSA$AR$ID$no such order\r\x1c\r"
    answer, fits = read_acknowledgement(block, "ID", encoding="utf-8")
    assert (answer.outcome, answer.words, fits) == (Outcome.NEVER, "no such order", True)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda noise: GOOD[:-9] + noise + b"\x1c\r"))
def test_no_bytes_break_the_reader(block: bytes) -> None:
    """Any answer is read without an exception; without this message's id none is success."""
    answer, fits = read_acknowledgement(block, "ANOTHER", encoding="utf-8")
    assert answer.outcome is Outcome.AGAIN and not fits
    read_acknowledgement(block, "ID", encoding="ascii")


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """What begins like a message may go on as it likes."""
    block = f"\x0bMSH{text}\rMSA{text}\rERR{text}\x1c\r".encode("utf-8", "replace")
    read_acknowledgement(block, "ID", encoding="utf-8")
