"""A wall clock that a test can set for the processes under it, and for no other."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")


class SettableClock:
    """Processes with its `environment` see the true time plus what was set. Skips without a C compiler."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or pytest.skip("setting the clock needs a C compiler")
        library = folder / "settable_clock.so"
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        self._file = folder / "clock"
        self._file.write_bytes(bytes(8))
        #: for the processes
        self.environment = {"LD_PRELOAD": str(library), "SETTABLE_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it differ from the true time by so many seconds from now on."""
        with self._file.open("r+b") as file:  # in place: the processes have it mapped
            file.write(struct.pack("<q", seconds))
