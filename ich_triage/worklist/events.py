"""Server-sent events: tells open pages that the list has changed; they ask for what they show.

One look at the database for all pages together, and none while no page is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from ..store import worklist as query
from ..store.database import Database
from .access import known, viewer

log = structlog.get_logger(__name__)
router = APIRouter(include_in_schema=False)

#: how often the database is looked at while a page is open, s
LOOK_S = 0.3
#: the same after a change, s: while slices arrive, every page would ask for its rows at each look
_CALM_S = 0.6
#: a line now and then, so that a proxy keeps the connection and a dead one shows, s
_ALIVE_S = 15.0
#: a writer's clock may be behind by so much without a change of its being missed
_CLOCKS = timedelta(minutes=5)


class Changes:
    """Counts the changes of the list, as long as somebody listens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[int, datetime] = {}
        self._changed = asyncio.Condition()
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        #: how often the list has changed since the start
        self.version = 0

    async def stream(self, may: Callable[[], bool]) -> AsyncIterator[str]:
        """An event at once and after each change, for as long as the listener `may` have them."""
        self._listeners += 1
        self._loop = asyncio.get_running_loop()
        if self._looking is None:
            self.version += 1  # nobody has looked for a while: what was made before may be old
            self._looking = asyncio.create_task(self._look())
        try:
            told = -1
            while not self._ended:
                if told != self.version:
                    told = self.version
                    yield f"event: changed\ndata: {told}\n\n"
                elif not await self._wait(told):
                    if not await run_in_threadpool(may):
                        return
                    yield ": still here\n\n"
        finally:
            self._listeners -= 1
            if not self._listeners and self._looking:
                self._looking.cancel()
                self._looking = None

    async def _wait(self, told: int) -> bool:
        """Whether there was a change before it is time for a sign of life."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ALIVE_S), self._changed:
                await self._changed.wait_for(lambda: self._ended or self.version != told)
                return True
        return False

    def end(self) -> None:
        """End every stream, from any thread: the process stops, and pages connect again by themselves."""
        self._ended = True
        if self._loop:
            asyncio.run_coroutine_threadsafe(self._wake(), self._loop)

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _look(self) -> None:
        while True:
            try:
                changed = await run_in_threadpool(self._read)
            except Exception:  # noqa: BLE001 - the pages' only look at the database: it must go on
                log.warning("changes_not_read")  # pages see that the list is stale when they ask for it
                changed = {}
            news = bool(changed.items() - self._seen.items())
            if news:
                async with self._changed:
                    self._seen = changed
                    self.version += 1
                    self._changed.notify_all()
            await asyncio.sleep(_CALM_S if news else LOOK_S)

    def _read(self) -> dict[int, datetime]:
        with self._database.read() as session:
            return query.changed_since(session, datetime.now(UTC) - _CLOCKS)


@router.get("/events", dependencies=[Depends(viewer)])
async def events(request: Request) -> StreamingResponse:
    """`changed` each time that the list has changed."""
    changes: Changes = request.app.state.changes
    stream = changes.stream(lambda: known(request) is not None)
    return StreamingResponse(stream, media_type="text/event-stream")
