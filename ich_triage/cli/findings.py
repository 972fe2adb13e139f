"""What `ich-triage doctor` says of one thing that it has looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    #: what
    subject: str
    #: `ok`, `warning` or `error`
    level: str
    #: what was seen
    seen: str
    #: what to do; empty when ok
    remedy: str = ""


def ok(subject: str, seen: str) -> Finding:
    """Nothing to do."""
    return Finding(subject=subject, level="ok", seen=seen)


def error(subject: str, *, seen: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(subject=subject, level="error", seen=seen, remedy=remedy)


def warning(subject: str, *, seen: str, remedy: str) -> Finding:
    """It works, and somebody should look."""
    return Finding(subject=subject, level="warning", seen=seen, remedy=remedy)
