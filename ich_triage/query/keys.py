"""What a question asks for: its keys as text, read without trust.

pydicom converts a value when it is looked at, warns and raises on what real peers send, and quotes the value
while it does. Here every value is taken as bytes and decoded on its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, private_dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from ..dicom.private import CREATOR, GROUP
from ..errors import HeaderError

SPECIFIC_CHARACTER_SET = Tag("SpecificCharacterSet")
#: longest value that is taken, bytes: what explicit VR can say of a list of UIDs (PS3.5 section 7.1.2)
VALUE_LIMIT_BYTES = 65_534
#: sequences within sequences at most; no key of ours is deeper
_DEPTH_LIMIT = 6
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ESCAPE = b"\x1b"
_NAME_DELIMITERS = {ord(character) for character in "^=\\"}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One attribute of a question."""

    #: its tag
    tag: BaseTag
    #: its value representation; by the dictionary, whatever the peer says
    vr: str
    #: its value as text, several divided by backslashes; empty asks for the attribute without matching
    text: str = ""
    #: of a sequence: the keys of its only item; empty where it has none
    item: tuple[Key, ...] = ()

    @property
    def is_universal(self) -> bool:
        """Whether every value matches (PS3.4 section C.2.2.2.3)."""
        return all(each.is_universal for each in self.item) if self.vr == "SQ" else not self.text.strip("* ")


def read_keys(identifier: Dataset) -> tuple[Key, ...]:
    """The keys of a C-FIND identifier. Raises HeaderError where it cannot be read."""
    # broad, since a decoder raises whatever it likes for the bytes of a peer
    try:
        return tuple(_read(identifier, _encodings(identifier), _DEPTH_LIMIT))
    except HeaderError:
        raise
    except Exception as error:
        raise HeaderError("the identifier cannot be read") from error


def value_of(identifier: Dataset, keyword: str) -> str:
    """One value of a request as text; empty where it is missing or no text. Raises HeaderError."""
    tag = BaseTag(tag_for_keyword(keyword) or 0)
    try:
        return _text(identifier.get_item(tag), _encodings(identifier)) if tag in identifier else ""
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise HeaderError(f"{keyword} cannot be read") from error


def _read(ds: Dataset, encodings: list[str], depth: int) -> Iterator[Key]:
    if not depth:
        raise HeaderError("sequences are nested too deeply")
    ours = _creator(ds)
    for tag in sorted(ds.keys()):
        element = ds.get_item(tag)
        if tag.element == 0 or tag.is_private_creator or tag == SPECIFIC_CHARACTER_SET or element is None:
            continue
        vr = _vr(tag, ours, element)
        if vr == "SQ":
            items = ds[tag].value or []
            if len(items) > 1:
                raise HeaderError(f"the sequence {tag} has more than one item")
            item = tuple(_read(items[0], encodings, depth - 1)) if items else ()
            yield Key(tag=tag, vr=vr, item=item)
        else:
            yield Key(tag=_normal(tag, ours), vr=vr, text=_text(element, encodings))


def _creator(ds: Dataset) -> int | None:
    """The block that the peer has reserved for our private elements (PS3.5 section 7.8.1)."""
    for tag in ds.keys():  # noqa: SIM118 - a Dataset iterates over converted elements
        if tag.group == GROUP and tag.is_private_creator:
            creator = ds.get_item(tag)
            value = creator.value if creator is not None else b""
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            if text.strip(" \0") == CREATOR:
                return tag.element
    return None


def _normal(tag: BaseTag, block: int | None) -> BaseTag:
    """Our private elements in the block that our answers use, wherever the peer has put them."""
    if tag.group == GROUP and block is not None and tag.element >> 8 == block:
        return BaseTag(GROUP << 16 | 0x1000 | tag.element & 0xFF)
    return tag


def _vr(tag: BaseTag, block: int | None, element: DataElement | RawDataElement) -> str:
    try:
        if tag.is_private:
            return private_dictionary_VR(_normal(tag, block), CREATOR)
        return dictionary_VR(tag)
    except KeyError:
        return element.VR or "UN"


def _encodings(ds: Dataset) -> list[str]:
    element = ds.get_item(SPECIFIC_CHARACTER_SET) if SPECIFIC_CHARACTER_SET in ds else None
    names = _raw(element).decode("latin-1").split("\\")
    # an unknown character set still lets through what is ASCII (PS3.3 section C.12.1.1.2)
    return [python_encoding.get(name.strip(" \0"), "latin-1") for name in names]


def _raw(element: DataElement | RawDataElement | None) -> bytes:
    """The bytes; none of what is no text. Raises HeaderError where they are too many, or too few."""
    value = element.value if element is not None else None
    if not isinstance(value, bytes):
        return b""
    if isinstance(element, RawDataElement) and len(value) < element.length != _UNDEFINED_LENGTH:
        raise HeaderError("the data set is cut off")
    if len(value) > VALUE_LIMIT_BYTES:
        raise HeaderError("a value is too long")
    return value


def _text(element: DataElement | RawDataElement | None, encodings: list[str]) -> str:
    """The value, without control characters and padding."""
    value = _raw(element)
    try:
        if _ESCAPE in value:
            decoded = decode_bytes(value, encodings, _NAME_DELIMITERS)
        else:
            decoded = value.decode(encodings[0], "replace")
    except (UnicodeError, Warning):
        decoded = value.decode("latin-1")
    return "".join(character for character in decoded if character.isprintable()).strip()
