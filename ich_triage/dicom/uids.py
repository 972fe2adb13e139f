"""UIDs of what we create: the same input always gives the same UID."""

from __future__ import annotations

import uuid

#: UUID namespace of this product, drawn once at random
_NAMESPACE = uuid.UUID("6f1f5c1e-3a7b-4f60-9a43-0d6f2f4f8a51")


def uuid_uid(value: uuid.UUID) -> str:
    """A UUID as a UID: `2.25.` and its decimal value (PS3.5 section B.2)."""
    return f"2.25.{value.int}"


def derived_uid(study_uid: str, revision: int, *parts: str) -> str:
    """The UID of one object of one revision: a name-based UUID (RFC 9562 section 5.5) over all arguments.

    A stage that is repeated therefore makes an object with the UID that it had before.
    """
    name = "/".join((study_uid, str(revision), *parts))
    return uuid_uid(uuid.uuid5(_NAMESPACE, name))


def named_uid(kind: str, *parts: str) -> str:
    """The UID of something that lives longer than one revision: a device, a tracked finding."""
    return uuid_uid(uuid.uuid5(_NAMESPACE, "/".join((kind, *parts))))


def fresh_uid() -> str:
    """A UID that has never been used, for a transaction."""
    return uuid_uid(uuid.uuid4())


#: Implementation Class UID (PS3.7 section D.3.3.2), in file meta information and associations
IMPLEMENTATION_CLASS_UID = named_uid("implementation")
#: Implementation Version Name, at most 16 characters
IMPLEMENTATION_VERSION_NAME = "ICH_TRIAGE_1"
