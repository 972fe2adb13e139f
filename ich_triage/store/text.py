"""Patterns that find text whatever its case, on every database: compare with the column in lower case.

Characters beyond ASCII match any: SQLite knows no case of theirs.
"""

from __future__ import annotations

ESCAPE = "\\"


def anywhere(words: str) -> str:
    """The words as they stand, somewhere in the text."""
    return f"%{''.join(_exactly(character) for character in words)}%"


def matching(pattern: str) -> str:
    """The same of a DICOM pattern (PS3.4 C.2.2.2.4): `*` stands for any text, `?` for any character."""
    wild = {"*": "%", "?": "_"}
    return f"%{''.join(wild.get(character) or _exactly(character) for character in pattern)}%"


def _exactly(character: str) -> str:
    if character in "%_" + ESCAPE:
        return ESCAPE + character
    return character.lower() if character.isascii() else "%"
