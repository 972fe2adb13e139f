"""Whether the receiver can take objects: what its `/readyz` looks at.

The database is not among it: without one, scanners are served all the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..errors import SpoolAwayError, SpoolFullError
from ..telemetry.readiness import Check
from .scp import Listener
from .spool import Spool


def checks(spool: Spool, listener: Listener) -> Mapping[str, Check]:
    """By the names that are told."""
    return {
        "spool": lambda: _spool(spool),
        "listener": lambda: None if listener.is_open else "takes no associations",
    }


def _spool(spool: Spool) -> str | None:
    """Writes a file as for an object that arrives."""
    try:
        path, file = spool.create()
        try:
            with file:
                file.write(b"\0")
        finally:
            path.unlink()
        spool.probe()
    except SpoolFullError:
        return "free space is below the reserve"
    except SpoolAwayError as error:
        return str(error)
    except OSError as error:
        return f"cannot be written ({os.strerror(error.errno or 0)})"
    return None
