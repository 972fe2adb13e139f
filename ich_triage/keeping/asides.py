"""How files go out of the spool, by what the spool is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ..storage.files import Files
from ..storage.folder import Folder
from ..store.database import Database
from .aside import Aside

if TYPE_CHECKING:
    from .tombstones import Tombstones

#: either
AnyAside: TypeAlias = "Aside | Tombstones"


def aside_of(spool: Files, database: Database) -> AnyAside:
    """Moved aside in a folder; noted in an object store."""
    if isinstance(spool, Folder):
        return Aside(spool)
    from ..storage.bucket import Bucket  # loads the library only where it is used
    from .tombstones import Tombstones

    assert isinstance(spool, Bucket)
    return Tombstones(spool, database)
