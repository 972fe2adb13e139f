"""Where a page may send its reader: to our own pages, never elsewhere."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

#: no longer than what a page of ours ever has
_MAX = 2048


def local_path(wanted: str) -> str:
    """`wanted` where it is a path of ours, with its query; else the worklist."""
    if len(wanted) > _MAX or not wanted.isascii() or not wanted.isprintable() or " " in wanted:
        return "/"
    ours = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if ours else "/"


def path_of(url: str) -> str:
    """The path of one of our pages, with its query, from its whole URL."""
    try:
        split = urlsplit(url)
    except ValueError:
        return "/"
    return local_path(f"{split.path}?{split.query}" if split.query else split.path)


def login_url(then: str) -> str:
    """The log-in page that leads on to `then`."""
    path = local_path(then)
    return "/login" if path == "/" else f"/login?{urlencode({'next': path})}"
