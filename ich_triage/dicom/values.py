"""Texts of other people's objects as values that are right in ours (PS3.5 Table 6.2-1)."""

from __future__ import annotations

import re
from datetime import datetime

_DATE = re.compile(r"\d{8}")


def identifier(text: str) -> str:
    """What names someone or something: empty rather than another's, where it is not one value of an LO.

    An SH may have 16 characters only, but longer accession numbers occur, and a cut one names another order.
    """
    return text if len(text) <= 64 and "\\" not in text and text.isprintable() else ""


def words(text: str, *, limit: int = 64) -> str:
    """A text in one value of at most `limit` characters, cut where it is longer."""
    plain = "".join(character if character.isprintable() else " " for character in text.replace("\\", "/"))
    return plain[:limit].strip()


def person_name(text: str) -> str:
    """A PN: three groups of five components at most, 64 characters a group."""
    groups = words(text, limit=256).split("=")[:3]
    return "=".join("^".join(group.split("^")[:5])[:64] for group in groups)


def date(text: str) -> str:
    """A DA; empty where it is none."""
    return text if _DATE.fullmatch(text) else ""


def date_time(moment: datetime) -> str:
    """A DT in this machine's zone, which it names."""
    return moment.astimezone().strftime("%Y%m%d%H%M%S.%f%z")
