"""Passwords: which are taken (NIST SP 800-63B section 3.1.1.2), and their argon2id hashes (RFC 9106)."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache
from importlib import resources

import argon2

from ..errors import AccountError

#: characters at least; no rule about kinds of characters, which lead to "Password1!"
MIN_LENGTH = 12
#: characters at most, so that nobody makes us hash a book
MAX_LENGTH = 256
#: a password of fewer different characters is a pattern
_MIN_DISTINCT = 5
#: a hash takes 64 MiB: more at once would let strangers use up the memory
_at_once = threading.BoundedSemaphore(2)


@cache
def _common() -> frozenset[str]:
    """Long passwords that lists of stolen ones name often, and what people make of our own name."""
    listed = resources.files(__package__) / "common_passwords.txt"
    return frozenset(listed.read_text(encoding="ascii").split())


@cache
def _hasher() -> argon2.PasswordHasher:
    """The library's present parameters, which follow RFC 9106; older hashes are renewed at log-in."""
    return argon2.PasswordHasher()


@cache
def _nobodys_hash() -> str:
    """What is verified where there is no account, so that an answer takes as long as any other."""
    return _hash("nobody has this password")


def check(password: str, name: str) -> None:
    """Raise AccountError, with what to do, unless `password` is good enough for the account `name`."""
    plain = _normal(password)
    if len(plain) < MIN_LENGTH:
        raise AccountError(f"the password has fewer than {MIN_LENGTH} characters: take a longer one")
    if len(plain) > MAX_LENGTH:
        raise AccountError(f"the password has more than {MAX_LENGTH} characters: take a shorter one")
    folded = plain.casefold()
    if folded in _common() or len(set(folded)) < _MIN_DISTINCT:
        raise AccountError(
            "the password is one of the commonest, or a simple pattern: take several unrelated words, say"
        )
    own = _normal(name).casefold()
    if own in folded and len(folded.replace(own, "")) < MIN_LENGTH:
        raise AccountError("the password is little more than the user's name: take another")


def make_hash(password: str, name: str) -> str:
    """The hash to keep for `password` of the account `name`. Raises AccountError as `check` does."""
    check(password, name)
    return _hash(password)


def verify(kept: str | None, password: str) -> bool:
    """Whether `password` is the one behind the hash `kept`; takes as long without a hash."""
    if len(password) > MAX_LENGTH:
        password = ""
    try:
        with _at_once:
            _hasher().verify(kept or _nobodys_hash(), _normal(password))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return kept is not None


def renewed(kept: str, password: str) -> str | None:
    """A hash with today's parameters, where `kept` has others; None where it has these."""
    return _hash(password) if _hasher().check_needs_rehash(kept) else None


def warm_up() -> None:
    """Make what the first log-in needs, so that it takes no longer than the others."""
    _nobodys_hash()


def _hash(password: str) -> str:
    with _at_once:
        return _hasher().hash(_normal(password))


def _normal(text: str) -> str:
    """One form for what keyboards send differently (NFKC, as NIST SP 800-63B asks)."""
    return unicodedata.normalize("NFKC", text)
