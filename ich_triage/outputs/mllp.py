"""HL7 messages over MLLP: each is followed by its acknowledgement (v2.5.1 section 2.9.2)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

import hl7  # type: ignore[import-untyped]
from hl7.mllp import HL7StreamReader, HL7StreamWriter, open_hl7_connection  # type: ignore[import-untyped]

from ..errors import DeliveryError
from ..settings import MllpDestination
from ..tls import client_context, no_connection
from .hl7 import codec, control_id
from .link import Answer, Outcome, cleaned

_START, _END = b"\x0b", b"\x1c\r"
#: HL7 table 0008: what we do at each acknowledgement code
_OUTCOMES = {
    "AA": Outcome.ACCEPTED,
    "CA": Outcome.ACCEPTED,
    "AE": Outcome.AGAIN,
    "CE": Outcome.AGAIN,
    "AR": Outcome.NEVER,
    "CR": Outcome.NEVER,
}
#: where an acknowledgement says what was wrong, best first
_WORDS = (("ERR", 8), ("ERR", 7), ("ERR", 3), ("MSA", 3))
#: what the parser raises on what is no HL7 message
_UNREADABLE = (hl7.HL7Exception, LookupError, ValueError, TypeError, AttributeError, AssertionError)
#: how long the end of a connection may take, s
_FAREWELL_S = 1.0


class MllpLink:
    """A connection to one MLLP listener; closed at the end of its `with` block."""

    def __init__(self, destination: MllpDestination, *, timeout_s: float) -> None:
        self._destination = destination
        self._timeout_s = timeout_s
        self._runner = asyncio.Runner()
        self._reader: HL7StreamReader
        self._writer: HL7StreamWriter
        self._open = False

    @property
    def is_open(self) -> bool:
        """False once an answer was missing or wrong: what comes then may be to an earlier message."""
        return self._open

    def __enter__(self) -> Self:
        """Connect. Raises DeliveryError."""
        try:
            self._runner.run(self._connect())
        except BaseException:
            self._runner.close()
            raise
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._runner.run(self._close())
        self._runner.close()

    def send(self, uid: str, content: bytes) -> Answer:
        """Send one message and wait for its acknowledgement."""
        self._open = False
        try:
            block = self._runner.run(self._exchange(content))
        except TimeoutError:
            return _again(f"no acknowledgement within {self._timeout_s:g} s")
        except asyncio.IncompleteReadError as error:
            which = "within" if error.partial else "without"
            return _again(f"connection closed {which} an acknowledgement")
        except asyncio.LimitOverrunError:
            return _again("the answer is too long for an acknowledgement")
        except OSError as error:
            return _again(f"connection broken ({error.strerror or type(error).__name__})")
        answer, fits = read_acknowledgement(
            block, control_id(uid), encoding=codec(self._destination.encoding)
        )
        self._open = fits
        return answer

    async def _connect(self) -> None:
        to = self._destination
        where = f"{to.host}:{to.port}"
        context = None
        if to.tls:
            context = client_context(
                ca_file=to.ca_file, certificate_file=to.certificate_file, key_file=to.key_file
            )
        try:
            async with asyncio.timeout(self._timeout_s):
                self._reader, self._writer = await open_hl7_connection(to.host, to.port, ssl=context)
        except TimeoutError as error:
            raise DeliveryError(f"no connection to {where} within {self._timeout_s:g} s") from error
        except (OSError, UnicodeError) as error:
            raise no_connection(where, error) from error

    async def _exchange(self, content: bytes) -> bytes:
        async with asyncio.timeout(self._timeout_s):
            self._writer.writeblock(content)
            await self._writer.drain()
            return bytes(await self._reader.readuntil(_END))

    async def _close(self) -> None:
        self._writer.close()
        with suppress(OSError):  # a time-out is one too
            async with asyncio.timeout(_FAREWELL_S):
                await self._writer.wait_closed()


def read_acknowledgement(block: bytes, message_id: str, *, encoding: str) -> tuple[Answer, bool]:
    """What an answer, up to the end of its block, says of message `message_id`; whether it is to that one.

    Never raises: peers send anything.
    """
    try:
        acknowledgement = hl7.parse(block[block.index(_START) + 1 : -len(_END)].decode(encoding, "replace"))
        msa = acknowledgement.segment("MSA")
        code, answered = str(msa(1)), str(msa(2))
    except _UNREADABLE:
        return _again("the answer is no HL7 acknowledgement"), False
    if answered != message_id:
        return _again("the acknowledgement is for another message"), False
    outcome = _OUTCOMES.get(code)
    if outcome is None:
        return _again("the acknowledgement has an unknown code"), True
    return Answer(outcome=outcome, said=f"acknowledged with {code}", words=_words(acknowledgement)), True


def _words(acknowledgement: hl7.Message) -> str:
    for segment, field in _WORDS:
        with suppress(*_UNREADABLE):
            if words := cleaned(str(acknowledgement.segment(segment)(field))):
                return words
    return ""


def _again(said: str) -> Answer:
    return Answer(outcome=Outcome.AGAIN, said=said)
