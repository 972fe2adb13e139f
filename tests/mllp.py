"""An MLLP listener whose manners a test can choose: the `hl7` package's server in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

LOOPBACK = "127.0.0.1"
#: from a message to the bytes that answer it; None: never a word; the connection stays open unless it cuts
Manner = Callable[[hl7.Message], bytes | None]


def block(content: bytes) -> bytes:
    """`content` framed as MLLP wants it."""
    return b"\x0b" + content + b"\x1c\r"


def accept(message: hl7.Message) -> bytes:
    """AA, in the library's own words."""
    return acknowledge("AA")(message)


def acknowledge(code: str, *more: str) -> Manner:
    """An acknowledgement with `code`, and the segments `more`."""

    def answer(message: hl7.Message) -> bytes:
        said = f"MSH|^~\\&|HIS||||20260304||ACK^R01^ACK|1|P|2.5.1\rMSA|{code}|{message.segment('MSH')(10)}"
        return block("\r".join([said, *more, ""]).encode())

    return answer


class MllpListener:
    """What an MLLP listener has heard."""

    def __init__(self, *, encoding: str = "utf-8", tls: ssl.SSLContext | None = None) -> None:
        #: every message, as bytes without its frame, repeated ones too
        self.heard: list[bytes] = []
        #: how it answers
        self.manner: Manner = accept
        #: whether it cuts the connection after its answer
        self.cuts = False
        self.port = 0
        self._encoding = encoding
        self._tls = tls
        self._ready = Event()
        self._loop: asyncio.AbstractEventLoop

    def messages(self) -> list[hl7.Message]:
        """What it has heard, parsed."""
        return [hl7.parse(each, encoding=self._encoding) for each in self.heard]

    def control_ids(self) -> list[str]:
        """MSH-10 of each."""
        return [str(each.segment("MSH")(10)) for each in self.messages()]

    async def _talk(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                while True:
                    content = await reader.readblock()
                    self.heard.append(content)
                    answer = self.manner(hl7.parse(content, encoding=self._encoding))
                    if answer is not None:
                        writer.write(answer)
                        await writer.drain()
                    if self.cuts:
                        break
        finally:
            writer.transport.abort()

    async def _serve(self, port: int) -> None:
        server = await start_hl7_server(self._talk, LOOPBACK, port, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    @contextmanager
    def serve(self, *, port: int = 0) -> Iterator[MllpListener]:
        """Listen until the block ends."""
        self._ready.clear()
        thread = Thread(target=lambda: asyncio.run(self._serve(port)))
        thread.start()
        assert self._ready.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()
