"""pynetdicom's association as its requestor has it, mended where its threads get in each other's way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, current_thread
from time import sleep
from typing import Any

from pynetdicom.association import Association

#: time for another thread to take what was given back, s
_YIELD_S = 0.01


@contextmanager
def in_step(association: Association) -> Iterator[None]:
    """Keep the threads of an association in step; where it is still open at the end, release it.

    pynetdicom's send_*() and release() pause the reactor thread by an event, then wait for a flag that the
    reactor sets before it stops. Two things go wrong:

    - The flag can be stale: on a busy machine the reactor looks into the queue once more, and drops a
      response that another thread waits for ("Received unexpected C-STORE service message"). It is given
      back.
    - An N-EVENT-REPORT is served in a thread of its own, which clears the flag when it is done. A reactor
      that has stopped meanwhile never sets it again, and who waits for it waits for ever. It is set again.
      The response must be on its way before the release, too: the upper layer's thread dies of it later.
    """
    serve = association._serve_request
    serving = Lock()

    def serve_in_step(message: Any, context_id: int) -> None:
        if not message.is_valid_request:
            association.dimse.msg_queue.put((context_id, message))
            sleep(_YIELD_S)
        elif current_thread() is association:  # the reactor
            serve(message, context_id)
        else:
            with serving:
                serve(message, context_id)
                association._is_paused = True

    association._serve_request = serve_in_step  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        with serving:
            if association.is_established:
                association.release()
