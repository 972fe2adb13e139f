"""Files that are there whole or not at all, after a power cut too."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

#: begins the name of what is not whole yet
PREFIX = "."


def write(path: Path, content: bytes) -> None:
    """Bytes, name and new folders are on stable storage when this returns. Raises OSError.

    What is there already is replaced. What a process that died left half written is removed; should that be
    the half of one that lives, both are writing the same, and the one that ends first has it written.
    """
    for folder in reversed([path.parent, *path.parent.parents]):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            sync(folder.parent)
    leftovers = list(path.parent.glob(f"{PREFIX}{path.name}.*"))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{PREFIX}{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.unlink(file.name)  # a full disk needs it most
            raise
    try:
        os.replace(file.name, path)
    except FileNotFoundError:
        if not path.exists():
            raise
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Flush the names in a folder to stable storage. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
