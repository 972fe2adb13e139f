"""`python -m bench [NAME …]`: run all benchmarks, or those named, and print their tables."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import torch

from . import database, engine, faults, latency, receive, scale, sustained, train, web
from .table import Rows, show

BENCHMARKS: dict[str, tuple[str, Callable[[], Rows]]] = {
    "receive": ("Receiving 400 CT images of 512²", receive.run),
    "latency": ("Last slice to SR stored in the PACS, 32 slices of 512²", latency.run),
    "engine": ("The network in force, 34 slices", engine.run),
    "train": ("Training beside a plain torch loop", train.run),
    "database": ("Cost at 100 and at 10,000 studies", database.run),
    "scale": ("How it grows: one process and two", scale.run),
    "sustained": ("Studies per hour, end to end", sustained.run),
    "faults": ("From a fault's end to the last report at the PACS", faults.run),
    "web": ("The web process with 10,000 studies", web.run),
}


def main() -> None:
    """Run and print."""
    names = sys.argv[1:] or list(BENCHMARKS)
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, {torch.get_num_threads()} threads, "
        f"CUDA {'yes' if torch.cuda.is_available() else 'no'}"
    )
    for name in names:
        title, run = BENCHMARKS[name]
        show(title, run())


main()
