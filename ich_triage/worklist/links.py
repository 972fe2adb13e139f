"""Where a page may send its reader: to our own pages, never elsewhere."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

#: no longer than what a page of ours ever has
_MAX = 2048


def local_path(wanted: str) -> str:
    """`wanted` where it is a path of ours, or the path of a whole URL; else the worklist."""
    if len(wanted) > _MAX or not wanted.isascii() or not wanted.isprintable() or " " in wanted:
        return "/"
    try:
        url = urlsplit(wanted)
    except ValueError:
        return "/"
    path = f"{url.path}?{url.query}" if url.query else url.path
    return path if path.startswith("/") and not path.startswith("//") and "\\" not in path else "/"


def login_url(then: str) -> str:
    """The log-in page that leads on to `then`."""
    path = local_path(then)
    return "/login" if path == "/" else f"/login?{urlencode({'next': path})}"
