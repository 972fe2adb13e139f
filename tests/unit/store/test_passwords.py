"""Passwords: which are taken, and what is kept of them."""

from __future__ import annotations

import argon2
import pytest

from ich_triage.errors import AccountError
from ich_triage.store import passwords


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "fewer than 12"),
        ("eleven char", "fewer than 12"),
        ("x" * 257, "more than 256"),
        ("Password1234", "commonest"),
        ("ICHTriage123", "commonest"),
        ("abababababab", "pattern"),
        ("aaaaaaaaaaaaaaaaaa", "pattern"),
        ("anna.mueller", "user's name"),
        ("Anna.Mueller2026", "user's name"),
    ],
)
@pytest.mark.risk("R-105")
def test_a_password_that_is_soon_guessed_is_refused_with_words(password: str, why: str) -> None:
    """The error says what to do, and does not repeat the password."""
    with pytest.raises(AccountError, match=why) as refused:
        passwords.make_hash(password, "anna.mueller")
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    "password", ["all lower case", "über den Wolken", "🦊🦉🐻🐢🐝 twelve", "anna.mueller reads heads"]
)
def test_any_other_password_is_taken(password: str) -> None:
    """No rule about kinds of characters."""
    passwords.check(password, "anna.mueller")


def test_what_is_kept_is_argon2id_and_knows_its_password_alone() -> None:
    """However a keyboard sends a letter, it is the same password."""
    kept = passwords.make_hash("über den Wolken", "anna")
    assert kept.startswith("$argon2id$")
    assert passwords.verify(kept, "über den Wolken")
    assert not passwords.verify(kept, "uber den Wolken")
    assert not passwords.verify(None, "nobody has this password")
    assert not passwords.verify("no hash", "über den Wolken")
    assert not passwords.verify(kept, "x" * 100_000)


def test_a_hash_with_other_parameters_is_renewed() -> None:
    """When the parameters are raised, so are those of passwords in use."""
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("four unrelated words")
    renewed = passwords.renewed(weak, "four unrelated words")
    assert renewed is not None
    assert passwords.verify(renewed, "four unrelated words")
    assert passwords.renewed(renewed, "four unrelated words") is None
