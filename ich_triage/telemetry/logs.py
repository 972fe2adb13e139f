"""Structured log: one line an event on standard error, stable event names, ids only."""

from __future__ import annotations

import logging
import sys
import warnings

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ..settings import Log


def configure(log: Log, *, process: str) -> None:
    """Send structlog and standard logging through one formatter, with `process` on every line.

    Tracebacks never show local variables: those hold patient data. Third parties speak from warning up.
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
        plain = structlog.dev.plain_traceback
        return [drop, structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    return [drop, tracebacks, structlog.processors.JSONRenderer()]
