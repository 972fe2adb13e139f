"""What `ich-triage doctor` sees of the object store that keeps the spool."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from time import monotonic

from ..errors import SettingsError, SpoolAwayError
from ..settings import Settings
from ..settings.base import is_loopback
from .findings import Finding, error, ok, warning


def look_at_store(loaded: Settings) -> Iterator[Finding]:
    """Writes an object as for one that arrives, and deletes it; then what a store does not offer."""
    from ..storage.bucket import Bucket  # loads the library only where it is used

    spool, name = loaded.spool, f"probe/{secrets.token_hex(8)}"
    started = monotonic()
    try:
        bucket = Bucket(spool)
        bucket.write(name, b"\0")
        took_s = monotonic() - started
        bucket.delete([name])
        next(bucket.list("inbox"), None)
    except (SpoolAwayError, SettingsError) as problem:
        yield error(
            "spool store",
            seen=f"{spool.url}: {problem}; scanners are answered A700 (out of resources) and send again",
            remedy="check [spool] url, endpoint, region and the credentials, which must allow to read, "
            "write, delete and list below the prefix",
        )
        return
    yield ok("spool store", f"{spool.url} takes objects, one in {took_s * 1000:.0f} ms")
    host = spool.endpoint.partition("://")[2].split("/")[0].rpartition(":")[0].strip("[]")
    if spool.endpoint.startswith("http://") and not is_loopback(host):
        yield warning(
            "spool store",
            seen="images of patients go to it without encryption",
            remedy="give the store a certificate, and set [spool] endpoint to its https:// address",
        )
    if not (loaded.retention.images_days or loaded.retention.studies_days):
        yield warning(
            "spool store",
            seen="nothing is ever deleted: a store has no free space after which images could go",
            remedy="set [retention] images_days or studies_days",
        )
