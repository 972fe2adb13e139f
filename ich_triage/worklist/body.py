"""No request may be larger than what our forms and our API take."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .refusals import Refused, problem

#: a note of feedback is the longest thing that anybody sends
MAX_BYTES = 64 * 1024


def _too_large() -> Refused:
    return Refused(413, f"the request is larger than {MAX_BYTES // 1024} KiB: send less at once")


class BodyLimit:
    """ASGI middleware: refuses by the length that is announced, and by what comes where none is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, up to `MAX_BYTES`; answer 413 beyond."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced[:20]) > MAX_BYTES:
            await problem(_too_large())(scope, receive, send)
            return
        taken = 0

        async def receive_within_limit() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BYTES:
                raise _too_large()
            return message

        await self._app(scope, receive_within_limit, send)
