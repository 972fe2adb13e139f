"""Files below a folder in which others write at the same time."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Relative to it, sorted; `Path.rglob` fails where a folder goes while it is being read."""
    return sorted(
        Path(parent, name).relative_to(folder) for parent, _, names in os.walk(folder) for name in names
    )
