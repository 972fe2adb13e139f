"""A destination that cannot be reached, and the moment from which it can be again.

Waits between two attempts grow, so that a report that has failed for an hour waits minutes for the next one.
A flag must not, once the destination is back: so it is looked for meanwhile.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from time import monotonic

#: between two looks, s
LOOK_S = 5.0
#: how long one may take, s
_CONNECT_S = 3.0


class Absence:
    """What one courier knows of it. One thread uses it.

    Begins as absent: whoever delivered before this process may have failed. Not looked for at once: what
    is due is tried anyway, and who serves one connection at a time is better asked with something to say.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        #: from the beginning of an absence to the first look, s
        self._wait_s = LOOK_S
        #: when to look, on the monotonic clock; None where it is not absent
        self._look_at: float | None = monotonic() + LOOK_S

    def begin(self) -> None:
        """For want of a connection nothing could be delivered. The next time it is looked for later."""
        if self._look_at is None:
            self._look_at = monotonic() + self._wait_s
            self._wait_s *= 2

    def is_over(self) -> bool:
        """Whether it was absent and takes TCP connections now."""
        if self._look_at is None or monotonic() < self._look_at:
            return False
        with suppress(OSError, UnicodeError):
            socket.create_connection(self._address, timeout=_CONNECT_S).close()
            return True
        self._look_at = monotonic() + LOOK_S
        return False

    def end(self) -> None:
        """What waited is tried again."""
        self._look_at = None

    def forget(self) -> None:
        """Something was delivered."""
        self._look_at = None
        self._wait_s = LOOK_S
