"""A network that can fall silent: packets to a server are dropped, nobody is told."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

_CLONE_NEWNET = 0x40000000


def _ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


class SilentNetwork:
    """A network namespace behind a pair of virtual cables; its one server hands on to the socket `target`."""

    def __init__(self, target: Path) -> None:
        self._target = target
        number = os.getpid() % 0xFFFF
        self._name, self._cable = f"ich{number}", f"ich{number}a"
        prefix = f"10.{number >> 8}.{number & 0xFF}"
        self._here, self.host = f"{prefix}.1", f"{prefix}.2"
        self.port = 0
        self._ready = Event()
        self._loop: asyncio.AbstractEventLoop

    @contextmanager
    def serve(self) -> Iterator[SilentNetwork]:
        """Hand on until the block ends; skips where namespaces are not permitted."""
        peer = f"{self._cable}b"
        if not _ip("netns", "add", self._name):
            pytest.skip("network namespaces are not permitted here")
        try:
            cable = ("link", "add", self._cable, "type", "veth", "peer", "name", peer, "netns", self._name)
            if not (_ip(*cable) and _ip("addr", "add", f"{self._here}/30", "dev", self._cable)):
                pytest.skip("virtual cables are not permitted here")
            _ip("link", "set", self._cable, "up")
            _ip("-n", self._name, "addr", "add", f"{self.host}/30", "dev", peer)
            _ip("-n", self._name, "link", "set", peer, "up")
            thread = Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
            thread.start()
            assert self._ready.wait(10)
            try:
                yield self
            finally:
                self._loop.call_soon_threadsafe(self._stop.set)
                thread.join(10)
        finally:
            _ip("link", "del", self._cable)
            _ip("netns", "del", self._name)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """No packet comes back until the block ends."""
        hole = ("blackhole", f"{self._here}/32")
        assert _ip("-n", self._name, "route", "add", *hole)
        try:
            yield
        finally:
            assert _ip("-n", self._name, "route", "del", *hole)

    async def _serve(self) -> None:
        with open(f"/run/netns/{self._name}", "rb") as namespace:
            assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) == 0
        listening = socket.create_server((self.host, 0))
        self.port = listening.getsockname()[1]
        server = await asyncio.start_server(self._hand_on, sock=listening)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            theirs, to_them = await asyncio.open_unix_connection(str(self._target))
            await asyncio.wait(
                [asyncio.create_task(_copy(reader, to_them)), asyncio.create_task(_copy(theirs, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            to_them.transport.abort()
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
