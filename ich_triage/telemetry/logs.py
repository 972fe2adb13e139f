"""Structured log: one line an event on standard error, stable event names, ids only."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from .. import errors
from ..settings import Log


def configure(log: Log, *, process: str) -> None:
    """Send structlog and standard logging through one formatter, with `process` on every line.

    Tracebacks show neither local variables nor what an error says that is none of ours: both hold patient
    data. Third parties speak from warning up.
    """

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(log))
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # warnings quote the values they warn about, which are patient data
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    logging.getLogger("ich_triage").setLevel(log.level.upper())
    # a sweep that takes longer than its interval is no news, and would be told at every interval
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _rendering(log: Log) -> list[Processor]:
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if log.format == "console":
        return [drop, structlog.dev.ConsoleRenderer(exception_formatter=_write_traceback)]
    return [drop, structlog.processors.ExceptionRenderer(_traceback), structlog.processors.JSONRenderer()]


def _traceback(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Each error of the chain with its frames; of one that is not ours only the type."""
    chain = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)(exc_info)
    for each in chain:
        each["exc_notes"] = each["exceptions"] = []
        if not hasattr(errors, each["exc_type"]):
            each["exc_value"] = ""
    return chain


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    """The same for people."""
    for each in reversed(_traceback(exc_info)):
        for frame in each["frames"]:
            out.write(f"  {frame['filename']}:{frame['lineno']} {frame['name']}\n")
        out.write(f"{each['exc_type']}: {each['exc_value']}\n")
