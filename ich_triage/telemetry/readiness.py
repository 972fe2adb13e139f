"""Whether a process can do its work now: what `/readyz` answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Lock, Thread

import structlog

log = structlog.get_logger(__name__)

#: says what is wrong in a few words, None when nothing is
Check = Callable[[], str | None]

#: how long an answer is waited for, s
_LIMIT_S = 2.0


class Readiness:
    """Asks all checks, in a thread of its own: a database that hangs makes the answer "no", never late.

    However often it is asked, one look is under way at a time.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._lock = Lock()
        self._look: Future[dict[str, str]] | None = None

    def ask(self) -> tuple[bool, dict[str, str]]:
        """Whether all is well; and for each check `ok`, or what is wrong."""
        with self._lock:
            if self._look is None or self._look.done():
                self._look = Future()
                Thread(target=self._run, args=(self._look,), name="readiness", daemon=True).start()
            look = self._look
        try:
            told = look.result(_LIMIT_S)
        except TimeoutError:
            told = dict.fromkeys(self._checks, f"no answer within {_LIMIT_S:g} s")
        return all(each == "ok" for each in told.values()), told

    def _run(self, look: Future[dict[str, str]]) -> None:
        look.set_result({name: _asked(name, check) or "ok" for name, check in self._checks.items()})


def _asked(name: str, check: Check) -> str | None:
    # broad, since this is the boundary of a thread: whatever breaks, the answer is "not ready"
    try:
        return check()
    except Exception as error:  # noqa: BLE001
        log.error("check_failed", check=name, error=type(error).__name__)
        return "could not be looked at; see the log"
