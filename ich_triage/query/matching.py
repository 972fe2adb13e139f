"""Attribute matching (PS3.4 section C.2.2.2): does a value that we have meet a key of a question?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from .keys import Key

#: value representations in which `*` and `?` are wild (PS3.4 section C.2.2.2.4)
WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
#: value representations in which a hyphen makes a range (PS3.4 section C.2.2.2.5)
RANGES = frozenset({"DA", "TM", "DT"})
#: how our own DT values are written
DATE_TIME = "%Y%m%d%H%M%S.%f%z"
#: the last moment that a date or time of less precision covers: the upper end of a range is inclusive
_LAST = {"DA": "99991231", "TM": "235959.999999", "DT": "99991231235959.999999"}
#: one value, or two and a hyphen; an offset from UTC may look like the year of a range (PS3.5 Table 6.2-1)
_OFFSET = r"([+-](?:0\d|1[0-4])[0-5]\d)?"
_VALUE = r"(\d*\.?\d*)"
_DATE_TIMES = re.compile(f"{_VALUE}{_OFFSET}(-)?{_VALUE}{_OFFSET}")
_DATES_OR_TIMES = re.compile(f"{_VALUE}()(-)?{_VALUE}()")
#: bounds that nothing is between
_NEVER = ("~", "!")


def matches(key: Key, ds: Dataset) -> bool:
    """Whether a data set of ours meets one key; what it does not have meets only a universal one."""
    if key.is_universal:
        return True
    element = ds.get(key.tag)
    value = element.value if element is not None else None
    if key.vr == "SQ":
        items = value if isinstance(value, DicomSequence) else ()
        return any(all(matches(each, item) for each in key.item) for item in items)
    several = isinstance(value, Sequence) and not isinstance(value, str)
    have = [str(each) for each in (value if several else (value,)) if each not in (None, "")]
    return any(_meets(key, each) for each in have)


def _meets(key: Key, have: str) -> bool:
    wanted = key.text
    if key.vr == "UI":
        return have in wanted.split("\\")
    if key.vr in RANGES:
        return _in_range(key.vr, wanted, have)
    if key.vr == "PN":
        return _is_name(wanted, have)
    if key.vr in WILD:
        return any(glob(each.strip(), have) for each in _values(key))
    return any(each.strip() == have for each in _values(key))


def _values(key: Key) -> list[str]:
    """Several values in one key match as a list of single ones, which many peers expect beyond UIDs."""
    return [key.text] if key.vr in ("LT", "ST", "UT", "UR") else key.text.split("\\")


def _is_name(wanted: str, have: str) -> bool:
    """A whole name, or one of its groups, whatever the case and trailing delimiters (PS3.5 section 6.2)."""
    pattern = wanted.casefold().rstrip("^= ")
    return any(glob(pattern, each.casefold().rstrip("^= ")) for each in (have, *have.split("=")))


def glob(pattern: str, text: str) -> bool:
    """Whether `pattern` with `*` (any characters) and `?` (one) covers `text`; time is at most their product.

    By hand, since a regular expression takes exponential time for what a hostile peer can write.
    """
    at = place = 0
    star, resume = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, place, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def bounds(vr: str, wanted: str) -> tuple[str, str]:
    """First and last value that a date or time key covers, both inclusive; empty where it is open.

    A moment with an offset from UTC is turned into this machine's zone, which our own are in.
    """
    plain = wanted.replace(".", "") if vr == "DA" else wanted.replace(":", "")
    found = (_DATE_TIMES if vr == "DT" else _DATES_OR_TIMES).fullmatch(plain.replace(" ", ""))
    if found is None:
        return _NEVER
    first, first_zone, hyphen, last, last_zone = found.groups(default="")
    if not hyphen:
        last, last_zone = first, first_zone
    return _here(first, "00010101000000.000000", first_zone), _here(last, _LAST[vr], last_zone)


def _in_range(vr: str, wanted: str, have: str) -> bool:
    first, last = bounds(vr, wanted)
    moment = have[:-5] if vr == "DT" and have[-5:-4] in ("+", "-") else have
    return (not first or moment >= first) and (not last or moment <= last)


def _here(value: str, rest: str, zone: str) -> str:
    """A value of less precision, filled up with `rest`; in this machine's zone where it names its own."""
    if not value:
        return ""
    if not zone and rest.startswith("0001"):
        return value
    full = "".join(mine or theirs for mine, theirs in zip_longest(value, rest, fillvalue=""))
    if not zone:
        return full
    try:
        return datetime.strptime(full + zone, DATE_TIME).astimezone().strftime("%Y%m%d%H%M%S.%f")
    except (ValueError, OverflowError):
        return full
