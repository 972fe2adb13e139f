"""Hosts with addresses of their own on one machine: network namespaces on a switch; cables can be pulled."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TypeVar

#: documentation addresses (RFC 5737): nobody's
_NETWORK = "198.51.100"
_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class NotPermittedError(Exception):
    """This machine lets us make no network namespaces."""


class Lan:
    """One switch and the hosts on it."""

    def __init__(self, *hosts: str) -> None:
        """Raises NotPermittedError."""
        self._tag = f"ich{os.getpid()}"
        self._names = list(hosts)
        self._made: list[str] = []
        try:
            self._add("switch")
            _ip("-n", self.at("switch"), "link", "add", "br0", "up", "type", "bridge")
            for number, name in enumerate(hosts, 1):
                self._add(name)
                self._connect(name, number)
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            raise NotPermittedError(str(getattr(error, "stderr", None) or error).strip()) from error

    def at(self, host: str) -> str:
        """Name of its namespace."""
        return f"{self._tag}-{host}"

    def address(self, host: str) -> str:
        """Its address."""
        return f"{_NETWORK}.{self._names.index(host) + 1}"

    def cut(self, host: str) -> None:
        """Pull its cable."""
        _ip("-n", self.at("switch"), "link", "set", host, "down")

    def mend(self, host: str) -> None:
        """Plug it in again."""
        _ip("-n", self.at("switch"), "link", "set", host, "up")

    def on(self, host: str, do: Callable[[], T]) -> T:
        """Run `do` in a thread on that host; threads that it starts are there, too."""
        found: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            enter(self.at(host))
            try:
                found.append(do())
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                failed.append(error)

        thread = Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    def close(self) -> None:
        """Take everything away."""
        for name in self._made:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)

    def _add(self, host: str) -> None:
        _ip("netns", "add", self.at(host))
        self._made.append(self.at(host))
        _ip("-n", self.at(host), "link", "set", "lo", "up")

    def _connect(self, host: str, number: int) -> None:
        switch, own = self.at("switch"), self.at(host)
        _ip("-n", switch, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", own)
        _ip("-n", switch, "link", "set", host, "master", "br0", "up")
        _ip("-n", own, "address", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
        _ip("-n", own, "link", "set", "eth0", "up")


@contextmanager
def lan(*hosts: str) -> Iterator[Lan]:
    """A switch with these hosts. Raises NotPermittedError."""
    made = Lan(*hosts)
    try:
        yield made
    finally:
        made.close()


def enter(namespace: str) -> None:
    """Move the calling thread to that host. Raises OSError."""
    with Path("/var/run/netns", namespace).open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def relay(listening: socket.socket, target: str) -> None:
    """Pass on every connection to the Unix socket `target`, from now on; ends when `listening` is closed."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                came, _ = listening.accept()
                onward = socket.socket(socket.AF_UNIX)
                onward.connect(target)
                for source, sink in ((came, onward), (onward, came)):
                    Thread(target=_pump, args=(source, sink), daemon=True).start()

    Thread(target=accept, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
