"""What every process measures of itself, and how figures are handed to Prometheus (docs/metrics.md).

No label ever holds a UID, an address, or anything of a patient: labels are states, reasons and names that the
configuration gives.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Info, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..settings import Spool

# when a counter began is the same moment for all of them: the start of the process, which is told once
disable_created_metrics()


def registry(process: str, spool: Spool | None = None) -> CollectorRegistry:
    """A registry with what every process tells: memory, threads, release; with `spool`, its disk."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    build = Info("ich_triage_build", "Which process of which release answers.", registry=made)
    build.info({"version": version("ich-triage"), "process": process})
    if spool is not None:
        made.register(SpoolSpace(spool))
    return made


def encode(of: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """What is told to a client that sends `accept`, and its media type."""
    encoder, media_type = choose_encoder(accept)
    return encoder(of), media_type


class SpoolSpace(Collector):
    """The disk below the spool; nothing while it cannot be looked at."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def collect(self) -> Iterator[Metric]:
        """Look, and tell."""
        try:
            disk = shutil.disk_usage(self._spool.path)
        except OSError:
            return
        told = {
            "free": (disk.free, "Space that the spool's disk has left."),
            "size": (disk.total, "Space of the spool's disk."),
            "reserve": (self._spool.reserve_bytes, "Free space below which C-STORE answers A700."),
        }
        for name, (value, words) in told.items():
            yield GaugeMetricFamily(f"ich_triage_spool_{name}_bytes", words, value=value)
