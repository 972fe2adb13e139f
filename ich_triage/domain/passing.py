"""What gets better by waiting: nobody's study is to blame, and the same work will succeed later."""

from __future__ import annotations

import errno

#: a full disk, one that became read-only, too many open files, too little memory, a file server that was away
_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.ESTALE,
    }
)


def passes(error: BaseException) -> bool:
    """Whether the operating system's error is of this machine and not of the object at hand."""
    return isinstance(error, OSError) and error.errno in _PASSING
