"""Log-in with name and password: slow to guess, and the same answer in the same time whoever is asked for."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

from anyio import CapacityLimiter
from fastapi import Request
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ..errors import LoginLimitedError
from ..store import accounts, passwords
from ..store import audit as audit_store
from ..store.account_tables import Account
from ..store.database import Database

#: failures of one account from one address, in five minutes
_PAIR = RateLimitItemPerMinute(5, 5, namespace="pair")
#: failures from one address, in five minutes; a hospital may sit behind a single one
_ADDRESS = RateLimitItemPerMinute(30, 5, namespace="address")
#: failures of one account from wherever, in an hour
_ACCOUNT = RateLimitItemPerHour(50, 1, namespace="account")
#: log-ins through a provider that are begun from one address, in five minutes: each is kept for a while
_BEGUN = RateLimitItemPerMinute(60, 5, namespace="begun")
#: failures of those from one address, in five minutes, of which each has a record of its own
_RETURNED = RateLimitItemPerMinute(30, 5, namespace="returned")
#: an address from which the person has logged in within so long is not shut out by others' failures
_AT_HOME = timedelta(days=30)


class Login:
    """Passwords of one web process, with its count of failures."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: threads that look at passwords: each takes much memory, and the other pages go on meanwhile
        self.turns = CapacityLimiter(2)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        passwords.warm_up()

    def check(self, name: str, password: str, address: str) -> tuple[Account | None, bool]:
        """The account, if there is one, and whether that was its password. Raises LoginLimitedError.

        A closed account, and one that an OpenID provider vouches for, have no password that is right.
        """
        with self._database.read() as session:
            account = accounts.find(session, name)
        self._wait(account, accounts.key_of(name), address)
        usable = account is not None and not account.disabled
        kept = account.password_hash if account and usable else None
        right = passwords.verify(kept, password)
        if not right:
            for item, key in _limits(accounts.key_of(name), address):
                self._limiter.hit(item, *key)
            return account, False
        self._limiter.clear(_PAIR, accounts.key_of(name), address)
        if account and kept and (renewed := passwords.renewed(kept, password)):
            self._keep(account.id, kept, renewed)
        return account, True

    def begin_elsewhere(self, address: str) -> None:
        """Count a log-in that goes through a provider. Raises LoginLimitedError."""
        if not self._limiter.hit(_BEGUN, address):
            raise self._limited(_BEGUN, (address,))

    def failed_elsewhere(self, address: str) -> bool:
        """Count a way back from a provider that came to nothing; whether there were few of that address."""
        return self._limiter.hit(_RETURNED, address)

    def _wait(self, account: Account | None, name: str, address: str) -> None:
        for item, key in _limits(name, address):
            if self._limiter.test(item, *key) or (item is _ACCOUNT and self._at_home(account, address)):
                continue
            raise self._limited(item, key)

    def _limited(self, item: RateLimitItem, key: tuple[str, ...]) -> LoginLimitedError:
        reset = self._limiter.get_window_stats(item, *key).reset_time
        return LoginLimitedError(max(1, math.ceil(reset - time.time())))

    def _at_home(self, account: Account | None, address: str) -> bool:
        if account is None:
            return False
        since = datetime.now(UTC) - _AT_HOME
        with self._database.read() as session:
            return audit_store.logged_in_from(session, account.name, address, since=since)

    def _keep(self, number: int, before: str, renewed: str) -> None:
        """The same password under today's parameters, unless it was changed meanwhile; sessions go on."""
        with self._database.write() as session:
            account = session.get_one(Account, number)
            if account.password_hash == before:
                account.password_hash = renewed


def login_of(request: Request) -> Login:
    """The passwords of this application."""
    found: Login = request.app.state.login
    return found


def _limits(name: str, address: str) -> tuple[tuple[RateLimitItem, tuple[str, ...]], ...]:
    return (_PAIR, (name, address)), (_ADDRESS, (address,)), (_ACCOUNT, (name,))
