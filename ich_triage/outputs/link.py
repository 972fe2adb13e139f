"""What a way to a destination of messages is, and what became of one message: a value, not a branch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

#: longest text of a peer that is kept, characters
_WORDS_LIMIT = 200


class Outcome(Enum):
    """What follows from an answer."""

    #: the destination has it
    ACCEPTED = auto()
    #: it may succeed later
    AGAIN = auto()
    #: it will be refused however often it is sent
    NEVER = auto()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one message."""

    #: what follows
    outcome: Outcome
    #: what happened, one line of ours
    said: str
    #: the peer's own words, which may name the patient: for the database, not for the log
    words: str = ""
    #: what the peer asks us to wait at least, s
    wait_s: float = 0.0


class Link(Protocol):
    """An open way to one destination."""

    @property
    def is_open(self) -> bool:
        """Whether another message can go this way."""

    def send(self, uid: str, content: bytes) -> Answer:
        """Send the message that the outbox knows as `uid`, and wait for the answer; raises nothing."""


def cleaned(words: str) -> str:
    """A peer's words in one line, without what a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in words).strip()[:_WORDS_LIMIT]
