"""A wall clock that a test can set for the processes under it, and for no other."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


class SettableClock:
    """Processes with its `environment` see the true time plus what was set."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self._seconds = 0
        file.write_bytes(bytes(8))
        #: for the processes
        self.environment = {"LD_PRELOAD": str(library), "SETTABLE_CLOCK": str(file)}

    def set(self, seconds: int) -> None:
        """Let it differ from the true time by so many seconds from now on."""
        self._seconds = seconds
        with self._file.open("r+b") as file:  # in place: the processes have it mapped
            file.write(struct.pack("<q", seconds))

    def shift(self, seconds: int) -> None:
        """Let it differ by so many seconds more."""
        self.set(self._seconds + seconds)


def settable_clock(folder: Path) -> SettableClock | None:
    """One whose files lie in `folder`; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "settable_clock.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return SettableClock(library, folder / "clock")
