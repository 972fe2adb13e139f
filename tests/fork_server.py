"""Loads the product once and then forks processes of it by order: a start costs a moment, not seconds.

Orders come as JSON lines on standard input; each is answered with the process id.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import traceback
from typing import Any

from tests import roles


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are buried by the system
    _answer("ready")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(json.loads(line))
        _answer(str(pid))


def _answer(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _run(order: dict[str, Any]) -> None:
    """In the child; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ["ICH_TRIAGE_PARENT_PID"] = str(os.getppid())
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    faulthandler.register(signal.SIGUSR1)
    status = 1
    try:
        getattr(roles, order["role"])(**order["options"])
        status = 0
    except BaseException:  # noqa: BLE001 - the child must not come back into the server's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


main()
