"""Fixtures of the tests that run the product's processes."""

from tests.forks import fork_server, forks

__all__ = ["fork_server", "forks"]
